"""The weights that a training starts from."""

import random
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ann2snn.errors import UserError
from ann2snn.networks.activations import TCL


def _round(net: nn.Module) -> None:
    """All weights to the nearest number of half precision."""
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())


def unit_bearing(net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters that depend on the unit of activations: scales and biases of batch norm, or without it the weight
    of the first layer, the biases of all layers but the last, and trained thresholds (all in that unit); and the weight
    of the last layer (in its inverse)."""
    norms: list[Tensor] = [p for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    thresholds = [m.y_th for m in net.modules() if isinstance(m, TCL)]
    *hidden, last = (m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    biases = [m.bias for m in hidden if m.bias is not None]  # before a batch norm they do nothing
    return [*(norms or [hidden[0].weight]), *biases, *thresholds], [last.weight]


def _rescale(net: nn.Module, gamma: float) -> None:
    """Activations gamma times as large, and outputs as they were."""
    direct, inverse = unit_bearing(net)
    with torch.no_grad():
        for value in direct:
            value.mul_(gamma)
        for value in inverse:
            value.div_(gamma)


def _reset(net: nn.Module, seed: int, initialisation: str) -> None:
    """Every layer as PyTorch makes it; with `fan_in` its weights keep the second moment of activations from layer to
    layer (He et al., ICCV 2015, eq. 10), and its biases are 0."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for module in net.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            if initialisation == "fan_in" and isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _continue(net: nn.Module, name: str, trained: nn.Module, unit: float) -> None:
    """Gives `net` the weights of a trained network, whose batch norms are folded where `net` has none.

    Thresholds that only `net` trains start as they would anew, `unit` times as large: as activations did back then.
    """
    state, wanted = trained.state_dict(), net.state_dict().keys()
    leaves = [(path, module) for path, module in trained.named_modules() if not any(module.children())]
    for (path, layer), (norm_path, norm) in pairwise(leaves):
        if isinstance(norm, nn.BatchNorm2d) and f"{norm_path}.weight" not in wanted:
            statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics)  # type: ignore[arg-type]
            state = {key: value for key, value in state.items() if not key.startswith(f"{norm_path}.")}
            state |= {f"{path}.weight": weight.detach(), f"{path}.bias": bias.detach()}
    for path, module in net.named_modules():
        if isinstance(module, TCL) and (key := f"{path}.y_th") not in state:
            state[key] = unit * module.y_th.detach()
    if differ := sorted(wanted ^ state.keys()):
        raise UserError(f"{name} cannot start from these weights, as only one of the two has {differ[0]}.")
    net.load_state_dict(state)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of everything random in one epoch."""
    return random.Random(f"{seed} {epoch}").getrandbits(63)
