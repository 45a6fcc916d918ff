"""Registry of source networks: the functions of this folder, and all networks of timm."""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from torch import nn

from ann2snn.errors import UserError, unknown
from ann2snn.networks import activations

_NETWORKS: dict[str, Callable[..., nn.Module]] = {}
_SHAPES: dict[str, tuple[int, int, int]] = {}
# classes of torch.nn.modules.activation and timm.layers.activations that `act_layer` does not replace
GATES = {"Sigmoid", "Hardsigmoid", "HardSigmoid", "Softmax", "Tanh", "MultiheadAttention"}


def network(*, shape: tuple[int, int, int]):
    """Decorator that registers `f(*, num_classes, in_chans, act_layer) -> nn.Module` under the function's name.

    Args:
        shape: The input (C, H, W) that the network is designed for.
    """

    def register(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        _NETWORKS[function.__name__], _SHAPES[function.__name__] = function, shape
        return function

    return register


@functools.cache
def _discover() -> None:
    """Imports all modules of this folder, which registers their networks."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


def network_functions() -> dict[str, Callable[..., nn.Module]]:
    """The networks of this folder: their functions by name, sorted."""
    _discover()
    return dict(sorted(_NETWORKS.items()))


def names() -> list[str]:
    """Names of the networks of this folder, sorted."""
    return list(network_functions())


def input_shape(name: str) -> tuple[int, int, int]:
    """The input (C, H, W) that a network is designed for; for timm's networks, that of its pretrained configuration."""
    if name in network_functions():
        return _SHAPES[name]
    try:
        from timm.models import get_pretrained_cfg

        configuration = get_pretrained_cfg(name)
    except (ImportError, RuntimeError):
        configuration = None
    return configuration.input_size if configuration else (3, 224, 224)


def check(name: str) -> None:
    """Raises a UserError unless `name` is a network of this folder or of timm."""
    if name in network_functions():
        return
    try:
        import timm
    except ImportError as error:
        raise UserError(f"{unknown('network', name, names())} timm, which has more, is not installed.") from error
    if not timm.is_model(name):
        raise unknown("network, here or in timm,", name, dict.fromkeys([*names(), *timm.list_models()]))


def create(name: str, *, num_classes: int, in_chans: int, activation: str = "relu") -> nn.Module:
    """Creates a network with random weights.

    Args:
        name: One of `names()`, or a network of timm. Pretrained weights are never loaded.
        num_classes: Number of outputs.
        in_chans: Channels of the input.
        activation: A spec for `activations.make`.

    Raises:
        UserError: The name or activation is unknown, or a timm network has other activation modules besides the
            requested one. (Activations that a network calls as functions are not detected.)
    """
    act_layer = activations.make(activation)
    check(name)
    if name in network_functions():
        return _NETWORKS[name](num_classes=num_classes, in_chans=in_chans, act_layer=act_layer)
    import timm

    make = functools.partial(timm.create_model, name, num_classes=num_classes, in_chans=in_chans)
    try:
        net = make(act_layer=act_layer)
    except (TypeError, AssertionError) as error:
        if activation != "relu":
            raise UserError(f"timm's {name} does not take {activation} ({error}); choose another network.") from error
        net = make()
    wanted = type(act_layer())
    others = [f"{path} ({type(m).__name__})" for path, m in net.named_modules() if _is_other_activation(m, wanted)]
    if others or not any(type(m) is wanted for m in net.modules()):
        what = f"{', '.join(others[:3])}{' ...' if len(others) > 3 else ''}" if others else "its own activations"
        raise UserError(f"timm's {name} keeps {what} where {activation} was asked for; choose another network.")
    return net


def register_with_timm() -> None:
    """Registers the networks of this folder with timm, as in `timm.create_model("deng_vgg16", num_classes=10)`.

    `in_chans` defaults to the channels that the network is designed for, and `act_layer` to ReLU. A name that timm
    already has is skipped.
    """
    from timm.models import is_model, register_model

    for name in names():
        if not is_model(name):
            register_model(_timm_entry(name))


def _timm_entry(name: str) -> Callable[..., nn.Module]:
    make = _NETWORKS[name]

    @functools.wraps(make)
    def entry(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **options):
        if pretrained:
            raise UserError(f"There are no pretrained weights of {name} in timm; train it with `ann2snn train`.")
        return make(**{"in_chans": _SHAPES[name][0], "act_layer": nn.ReLU} | options)

    return entry


def _is_other_activation(module: nn.Module, wanted: type) -> bool:
    source = type(module).__module__
    from_library = source == "torch.nn.modules.activation" or source.startswith("timm.layers.activations")
    return from_library and type(module) is not wanted and type(module).__name__ not in GATES
