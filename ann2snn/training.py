"""Source networks: a fixed recipe per dataset and network, trained once, kept under the key of all they depend on."""

import hashlib
import io
import json
import math
import random
import sys
import warnings
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ann2snn import networks
from ann2snn.activations import TCL
from ann2snn.errors import UserError, unknown
from ann2snn.records import slug, write_atomic


@dataclass(frozen=True)
class Start:
    """The trained source of the same data and seed that a training goes on from.

    Batch norms that the network to train does not have are folded into the convolutions before them.
    """

    recipe: str
    network: str = "{}"  # {} stands for the network to train
    activation: str | None = None  # None: the same


@dataclass(frozen=True)
class Recipe:
    """How a source is trained: cross-entropy, SGD with momentum, all epochs; the last epoch is the model."""

    name: str
    epochs: int
    batch_size: int
    lr: float  # after the warm-up
    momentum: float = 0.9
    weight_decay: float = 5e-4  # not of biases and batch norm
    warmup_epochs: float = 1.0
    schedule: Literal["cosine", "linear", "steps"] = "cosine"  # to zero; steps: a tenth from each milestone on
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0  # norm; 0 is none
    augmentation: str | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # Lightning's names
    channels_last: bool = False
    milestones: tuple[int, ...] = ()  # epochs
    nesterov: bool = True
    decay_all: bool = False  # weight decay of biases and batch norm too
    initialisation: Literal["network", "torch", "fan_in"] = "network"  # its own, PyTorch's default of every layer, He's
    gamma: float | None = None  # activations start gamma times as large; all but the clip as with y_th / gamma
    start: Start | None = None
    half: bool = False  # round the finished weights to half precision, before anything is measured

    @property
    def key(self) -> str:
        """`<name>-<hash of every field>`. Fields that came after the first records count where they are used."""
        used = asdict(self)
        for field in fields(self)[FIRST:]:
            if getattr(self, field.name) == field.default:
                del used[field.name]
        if self.start:
            used["start"]["recipe"] = RECIPES[self.start.recipe].key
        return f"{self.name}-{hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]}"

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, relative to `lr`: linear warm-up, then the schedule. No state."""
        warmup, total = self.warmup_epochs * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "steps":
            return 0.1 ** sum(step >= epoch * steps_per_epoch for epoch in self.milestones)
        progress = (step - warmup) / max(total - warmup, 1)
        return {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[self.schedule]


FIRST = 13  # fields of Recipe when the first records were made
FAST = {"precision": "bf16-mixed", "channels_last": True}
CIFAR = {"augmentation": "crop_flip", **FAST}
BN_FREE = FAST | {"batch_size": 128, "schedule": "linear", "gradient_clip": 1.0}
DENG = {
    "batch_size": 128,
    "augmentation": "crop_flip",
    "warmup_epochs": 0.0,
    "schedule": "steps",
    "milestones": (100, 140, 240),
    "nesterov": False,
    "decay_all": True,
}
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("digits", epochs=40, batch_size=64, lr=0.1, weight_decay=2e-3, label_smoothing=0.1),
        Recipe("default", epochs=30, batch_size=128, lr=0.05, gradient_clip=1.0),
        # networks with batch norm, narrow and wide
        # (from a scale of 1 a threshold of 1 clips a sixth of all units; with gamma it learns as a ReLU network does)
        Recipe("cifar", epochs=30, batch_size=64, lr=0.1, schedule="linear", gamma=0.25, half=True, **CIFAR),
        Recipe("cifar_short", epochs=8, batch_size=128, lr=0.1, schedule="linear", **CIFAR),
        # networks without it: from scratch (searched for: benchmarks/recipes.py), and from their folded twins: the
        # paper's VGG-16 in two hours on two CPU cores, the twin's training included
        Recipe("bn_free", epochs=7, lr=0.1, initialisation="fan_in", **BN_FREE),
        Recipe(
            "bn_removed",
            epochs=4,
            lr=0.01,
            augmentation="crop_flip",
            start=Start("cifar_short", "{}_bn"),
            **BN_FREE,
        ),
        # from a trained ReLU network to another activation
        Recipe(
            "tuned",
            epochs=5,
            batch_size=128,
            lr=0.02,
            schedule="linear",
            half=True,
            start=Start("cifar", activation="relu"),
            **CIFAR,
        ),
        # the paper's, as its text has it (rate and epochs from memory) and as the defaults of its code are
        Recipe("deng2021", epochs=300, lr=0.01, **DENG),
        Recipe("deng2021_code", epochs=200, lr=1e-3, initialisation="torch", **DENG),
        # ours: the paper has results on ImageNet and no recipe for them
        Recipe("imagenet", epochs=90, lr=0.05, augmentation="crop_flip", **BN_FREE),
    )
}
DEFAULTS = {
    "deng_cifarnet": "bn_free",
    "deng_vgg16": "bn_free",
    "deng_resnet20": "bn_free",
    "deng_vgg16_bn": "cifar_short",
    "deng_resnet20_bn": "cifar_short",
    "cifar_resnet18": "cifar_short",
    "cifar_resnet34": "cifar_short",
    "cifar_vgg16": "cifar_short",
    "deng_vgg16_imagenet": "imagenet",
}


def recipe_of(dataset: str, network: str, name: str | None = None) -> Recipe:
    """The recipe of this name, else that of the pair. UserError for an unknown name."""
    if name is None and dataset == "digits":
        name = "digits"
    name = name or DEFAULTS.get(network, "cifar" if dataset.startswith("cifar") else "default")
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def train(
    data, network: str, activation: str, seed: int, root, *, recipe=None, device="auto", logger=None, progress=True
) -> Path:
    """The path of a finished source under `root`: found, or resumed after its last whole epoch, or trained anew.

    `recipe` is the name of one of RECIPES, by default the one of dataset and network; the source that it starts from is
    trained first. A run that was killed and resumed gives the same weights bit for bit as one that was not (same
    machine and threads). `data.test` is never touched. `logger(info)`, called where there is something to train, makes
    a Lightning logger for loss, accuracies and learning rate of every epoch; the caller's random state stays as it was.
    UserError: an unknown device, network or recipe, a training that diverges.
    """
    plan, info = recipe_of(data.name, network, recipe), describe(data, network, activation, seed, recipe)
    weights, device = weights_file(data, network, activation, seed, root, recipe), accelerator(device)
    if weights.exists():
        return weights
    net = untrained(info, seed)
    if plan.initialisation != "network":
        _reset(net, seed, plan.initialisation)
    if plan.gamma is not None:
        _rescale(net, plan.gamma)
    if start := plan.start:
        before = start.network.format(network), start.activation or activation
        how = {"recipe": start.recipe, "device": device, "logger": logger, "progress": progress}
        trained = load_source(train(data, *before, seed, root, **how))[0]
        _continue(net, network, trained, unit=RECIPES[start.recipe].gamma or 1.0)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        label = f"{data.name} {network} {activation} seed {seed}"
        if progress:
            print(f"{label}: training{' goes on' if weights.with_name('last.ckpt').exists() else ''}", file=sys.stderr)
        from ann2snn import lightning

        checkpoint = weights.with_name("last.ckpt")
        how = {"device": device, "logger": logger and logger(info), "progress": progress, "label": label}
        told = lightning.fit(net, data, plan, seed, checkpoint, **how)
    if plan.half:
        _round(net)
    save_source(net, info | told | {"hyperparameters": asdict(plan)}, weights)
    for leftover in set(weights.parent.iterdir()) - {weights}:
        leftover.unlink(missing_ok=True)
    return weights


def untrained(info: dict, seed: int) -> nn.Module:
    """The network that a training begins with; the caller's random state stays as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return _create(info)


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


def describe(data, network: str, activation: str, seed: int, recipe: str | None = None) -> dict:
    """What a source is: all that its weights depend on; the recipe's key stands for the hyper-parameters."""
    info = {"dataset": data.name, "data_hash": data.hash, "network": network, "activation": activation, "seed": seed}
    shape = tuple(data.shape)
    return info | {
        "recipe": recipe_of(data.name, network, recipe).key,
        "num_classes": data.classes,
        "in_chans": shape[0],
        "shape": shape,
        "training_seconds": None,
    }


def weights_file(data, network: str, activation: str, seed: int, root, recipe: str | None = None) -> Path:
    """Where the finished weights of a source lie: the key of all that they depend on."""
    return Path(root) / place(describe(data, network, activation, seed, recipe))


def place(info: dict) -> Path:
    """Where a source lies below the root of all results: all of one network and activation in one folder."""
    if info["seed"] is None:
        made = f"imported-{slug(info['recipe'])}"
    else:
        made = f"seed{info['seed']}-{info['recipe']}-{info['data_hash'][:8]}"
    kind = f"{slug(info['network'])}-{slug(info['activation'])}"
    return Path("sources") / slug(info["dataset"]) / kind / made / "weights.pt"


def save_source(net: nn.Module, info: dict, path: Path) -> None:
    """Writes a network and its info whole or not at all, with the hash of its weights.

    Where half precision holds every weight exactly, the file is in half precision.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    info, file = info | {"weights_hash": weights_hash(state)}, io.BytesIO()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    exact = all(torch.equal(halves[name].to(value.dtype), value) for name, value in state.items())
    torch.save({"info": info, "state_dict": halves if exact else state}, file)
    write_atomic(path, file.getvalue())


def load_source(path) -> tuple[nn.Module, dict]:
    """The network in eval mode and its info, from a file that `train` wrote; UserError for any other or damaged one."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); name the weights.pt of a trained source."
        ) from error
    try:
        with warnings.catch_warnings(action="ignore"):
            source = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} is damaged, is no checkpoint, or holds more than weights; train the source again."
        ) from error
    try:
        if not isinstance(source, dict):
            raise TypeError
        info, state, stated = source["info"], source["state_dict"], source["info"]["weights_hash"]
        at = place(info)
        with torch.random.fork_rng([]):
            net = _create(info)
    except UserError as error:
        raise UserError(f"{path} cannot be built here: {error}") from error
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path} is no source of ann2snn: name a weights.pt that `ann2snn train` or `ann2snn import` wrote, or a"
            " network by its import path."
        ) from error
    try:
        net.load_state_dict(state)
    except (TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path} is no source of ann2snn: its weights are not those of {info['network']}; train the source again."
        ) from error
    found = Path(path).absolute().parts[-len(at.parts) :]
    if found[0] == "sources" and found != at.parts:
        raise UserError(f"{path} holds another source than its place says: move it to {at}, and run this again.")
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{path} has a NaN or an infinity in {name}; train the source again.")
    if weights_hash(net) != stated:
        raise UserError(f"{path} has other weights than its hash says; train the source again.")
    return net.eval(), info


def weights_hash(net: nn.Module | dict[str, Tensor]) -> str:
    """SHA-256 (hex) over names, shapes, dtypes and bytes of all parameters and buffers, in the order of their names."""
    state = net.state_dict() if isinstance(net, nn.Module) else net
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of everything random in one epoch."""
    return random.Random(f"{seed} {epoch}").getrandbits(63)


def _create(info: dict) -> nn.Module:
    chosen = {name: info[name] for name in ("num_classes", "in_chans", "activation")}
    return networks.create(info["network"], **chosen)


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
