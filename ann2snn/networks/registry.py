"""Source networks by name: our own, one function each in the files of this folder, and all of timm."""

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
GATES = {
    "Sigmoid",
    "Hardsigmoid",
    "HardSigmoid",
    "Softmax",
    "Tanh",
    "MultiheadAttention",
}  # not what act_layer replaces


def network(*, shape: tuple[int, int, int]):
    """Registers `f(*, num_classes, in_chans, act_layer) -> nn.Module` under its own name; it is meant for (C, H, W)."""

    def register(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        _NETWORKS[function.__name__], _SHAPES[function.__name__] = function, shape
        return function

    return register


@functools.cache
def _discover() -> None:
    """Imports every file of this folder, so that its networks are registered."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


def network_functions() -> dict[str, Callable[..., nn.Module]]:
    """Our own networks by name: the functions that make them."""
    _discover()
    return dict(sorted(_NETWORKS.items()))


def names() -> list[str]:
    """Our own networks, sorted."""
    return list(network_functions())


def input_shape(name: str) -> tuple[int, int, int]:
    """The (C, H, W) that a network is meant for: ours by its decorator, timm's by its configuration."""
    if name in network_functions():
        return _SHAPES[name]
    try:
        from timm.models import get_pretrained_cfg

        configuration = get_pretrained_cfg(name)
    except (ImportError, RuntimeError):
        configuration = None
    return configuration.input_size if configuration else (3, 224, 224)


def check(name: str) -> None:
    """UserError for a name that is neither ours nor timm's."""
    if name in network_functions():
        return
    try:
        import timm
    except ImportError as error:
        raise UserError(f"{unknown('network', name, names())} timm, which has more, is not installed.") from error
    if not timm.is_model(name):
        raise unknown("network, here or in timm,", name, dict.fromkeys([*names(), *timm.list_models()]))


def create(name: str, *, num_classes: int, in_chans: int, activation: str = "relu") -> nn.Module:
    """A freshly initialised network: one of `names()`, else timm's of that name (never its pretrained weights).

    `activation` is a name for `activations.make`. UserError: an unknown name, or a timm network that keeps activations
    of its own beside the one asked for. Activations that a timm network calls as functions are not seen here.
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
    kept = [f"{place} ({type(m).__name__})" for place, m in net.named_modules() if _is_other_activation(m, wanted)]
    if kept or not any(type(m) is wanted for m in net.modules()):
        what = f"{', '.join(kept[:3])}{' ...' if len(kept) > 3 else ''}" if kept else "its own activations"
        raise UserError(f"timm's {name} keeps {what} where {activation} was asked for; choose another network.")
    return net


def register_with_timm() -> None:
    """Makes our networks timm's too: after it `timm.create_model("deng_vgg16", num_classes=10)` makes one.

    `in_chans` and `act_layer` default to what the network is meant for and to ReLU. A name that timm has stays timm's.
    """
    from timm.models import is_model, register_model

    for name in names():
        if not is_model(name):
            register_model(_timm_entry(name))


def _timm_entry(name: str) -> Callable[..., nn.Module]:
    make = _NETWORKS[name]

    @functools.wraps(make)
    def entry(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **chosen):
        if pretrained:
            raise UserError(f"There are no pretrained weights of {name} in timm; train it with `ann2snn train`.")
        return make(**{"in_chans": _SHAPES[name][0], "act_layer": nn.ReLU} | chosen)

    return entry


def _is_other_activation(module: nn.Module, wanted: type) -> bool:
    source = type(module).__module__
    from_library = source == "torch.nn.modules.activation" or source.startswith("timm.layers.activations")
    return from_library and type(module) is not wanted and type(module).__name__ not in GATES
