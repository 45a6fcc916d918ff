"""Initial weights of a training."""

import random
from itertools import pairwise

import torch
from torch import Tensor, nn

from ann2snn.errors import UserError
from ann2snn.networks.activations import TCL
from ann2snn.networks.batch_norm import folded_weights


def round_to_half(net: nn.Module) -> None:
    """Rounds all parameters and buffers in place to values that half precision represents."""
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())


def scale_dependent_parameters(net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters that depend on the scale of the activations.

    Returns:
        Parameters that are proportional to the scale: weights and biases of batch norm (without batch norm the weight
        of the first layer), biases of all layers but the last, and trained thresholds. Then those that are inversely
        proportional: the weight of the last layer.
    """
    norms: list[Tensor] = [p for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    thresholds = [m.y_th for m in net.modules() if isinstance(m, TCL)]
    *hidden, last = (m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    biases = [m.bias for m in hidden if m.bias is not None]  # without effect before a batch norm
    return [*(norms or [hidden[0].weight]), *biases, *thresholds], [last.weight]


def rescale_activations(net: nn.Module, gamma: float) -> None:
    """Multiplies all activations by `gamma`, in place; the outputs do not change."""
    direct, inverse = scale_dependent_parameters(net)
    with torch.no_grad():
        for value in direct:
            value.mul_(gamma)
        for value in inverse:
            value.div_(gamma)


def reset_parameters(net: nn.Module, seed: int, initialisation: str) -> None:
    """Initialises every layer in place, as PyTorch does by default.

    With `fan_in`, weights are drawn from He's normal distribution (He et al., ICCV 2015, eq. 10), which preserves the
    second moment of activations from layer to layer, and biases are 0.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for module in net.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            if initialisation == "fan_in" and isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def load_warm_start(net: nn.Module, name: str, trained: nn.Module, scale: float) -> None:
    """Copies the weights of a trained network into `net`. Batch norms that `net` does not have are folded.

    Args:
        net: The network to initialise, in place.
        name: Its name, for the error message.
        trained: The trained network.
        scale: Scale of its activations. Thresholds that only `net` trains are initialised to `scale` times their
            default.

    Raises:
        UserError: The two networks have different parameters.
    """
    state, expected = trained.state_dict(), net.state_dict().keys()
    leaves = [(path, module) for path, module in trained.named_modules() if not any(module.children())]
    for (path, layer), (norm_path, norm) in pairwise(leaves):
        if isinstance(norm, nn.BatchNorm2d) and f"{norm_path}.weight" not in expected:
            weight, bias = folded_weights(layer, norm)
            state = {key: value for key, value in state.items() if not key.startswith(f"{norm_path}.")}
            state |= {f"{path}.weight": weight, f"{path}.bias": bias}
    for path, module in net.named_modules():
        if isinstance(module, TCL) and (key := f"{path}.y_th") not in state:
            state[key] = scale * module.y_th.detach()
    if different := sorted(expected ^ state.keys()):
        raise UserError(
            f"{name} cannot start from these weights, as only one of the two has {different[0]}: name a recipe for this"
            " network with --recipe."
        )
    net.load_state_dict(state)


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of all random numbers in one epoch of a training."""
    return random.Random(f"{seed} {epoch}").getrandbits(63)
