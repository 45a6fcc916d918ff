"""Source networks, trained once by their recipe and kept under the key of all that they depend on."""

import random
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ann2snn.activations import TCL
from ann2snn.checkpoints import aside, describe, load_source, resumable, save_source, untrained, weights_file
from ann2snn.errors import UserError
from ann2snn.files import exclusive, remove
from ann2snn.recipes import RECIPES, Recipe, recipe_of


def train(
    data, network: str, activation: str, seed: int, root, *, recipe=None, device="auto", logger=None, progress=True
) -> Path:
    """The path of a finished source under `root`: found, or resumed after its last whole epoch, or trained anew.

    `recipe` is the name of one of RECIPES, by default the one of dataset and network; the source that it starts from is
    trained first. A run that was killed and resumed gives the same weights bit for bit as one that was not (same
    machine and threads). `data.test` is never touched. `logger(info)`, called where there is something to train, makes
    a Lightning logger for loss, accuracies and learning rate of every epoch; the caller's random state stays as it was.
    Of several processes one trains, and the others wait for its weights. A damaged checkpoint is put aside, and the
    training starts again.
    UserError: an unknown device, network or recipe, a training that diverges.
    """
    plan, info = recipe_of(data.name, network, recipe), describe(data, network, activation, seed, recipe)
    weights, device = weights_file(data, network, activation, seed, root, recipe), accelerator(device)
    checkpoint = weights.with_name("last.ckpt")
    if weights.exists() and len(list(weights.parent.iterdir())) == 1:
        return weights
    net = untrained(info, seed)
    label = f"{data.name} {network} {activation} seed {seed}"
    how = {"device": device, "logger": logger, "progress": progress}

    def waiting():
        print(f"{label}: another process trains it; waiting for its weights", file=sys.stderr, flush=True)

    with exclusive(weights.with_name(".lock"), waiting):
        if not weights.exists():
            _initialise(net, plan, data, network, activation, seed, root, how)
            told = _fit(net, plan, info, data, seed, checkpoint, label, **how)
            save_source(net, info | told | {"hyperparameters": asdict(plan)}, weights)
        for leftover in (checkpoint, aside(checkpoint)):
            remove(leftover)
    return weights


def _initialise(net: nn.Module, plan: Recipe, data, network: str, activation: str, seed: int, root, how: dict) -> None:
    """The weights that the training begins with; the source that they come from is trained first."""
    if plan.initialisation != "network":
        _reset(net, seed, plan.initialisation)
    if plan.gamma is not None:
        _rescale(net, plan.gamma)
    if start := plan.start:
        before = start.network.format(network), start.activation or activation
        trained = load_source(train(data, *before, seed, root, recipe=start.recipe, **how))[0]
        _continue(net, network, trained, unit=RECIPES[start.recipe].gamma or 1.0)


def _fit(
    net: nn.Module, plan: Recipe, info: dict, data, seed: int, checkpoint: Path, label: str, *, device, logger, progress
) -> dict:
    """Trains `net` in place; returns what a source tells of its training."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        resumed = resumable(checkpoint, net)
        if progress:
            print(f"{label}: training{' goes on' if resumed else ''}", file=sys.stderr, flush=True)
        from ann2snn import lightning  # which takes seconds

        how = {"device": device, "logger": logger and logger(info), "progress": progress, "label": label}
        told = lightning.fit(net, data, plan, seed, checkpoint, **how)
    if plan.half:
        _round(net)
    return told


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


def accelerator(device: str) -> str:
    """`auto` -> `cuda` where torch can use one, else `cpu`. UserError for an unknown device or an absent one."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"No device is called {device!r}; known are auto, cpu and cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("This machine has no CUDA device that torch can use; take --device cpu.")
    if device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    torch.backends.cudnn.allow_tf32 = False  # what is called float32 is computed in it
    return "cuda"
