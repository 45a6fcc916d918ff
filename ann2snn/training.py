"""Source networks: a fixed recipe per dataset and network, trained once, kept under the key of all they depend on."""

import hashlib
import io
import json
import math
import random
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ann2snn import networks
from ann2snn.errors import UserError
from ann2snn.records import slug, write_atomic


@dataclass(frozen=True)
class Recipe:
    """How a source is trained: cross-entropy, SGD with Nesterov momentum, all epochs; the last epoch is the model."""

    name: str
    epochs: int
    batch_size: int
    lr: float  # after the warm-up
    momentum: float = 0.9
    weight_decay: float = 5e-4  # not of biases and batch norm
    warmup_epochs: float = 1.0
    schedule: Literal["cosine", "linear"] = "cosine"  # to zero
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0  # norm; 0 is none
    augmentation: str | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # Lightning's names
    channels_last: bool = False

    @property
    def key(self) -> str:
        """`<name>-<hash of every field>`."""
        return f"{self.name}-{hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]}"

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, relative to `lr`: linear warm-up, then the schedule. No state."""
        warmup, total = self.warmup_epochs * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(total - warmup, 1)
        return {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[self.schedule]


DIGITS = Recipe("digits", epochs=40, batch_size=64, lr=0.1, weight_decay=2e-3, label_smoothing=0.1)
CIFAR = Recipe(
    "cifar",
    epochs=30,
    batch_size=128,
    lr=0.2,
    warmup_epochs=2.0,
    schedule="linear",
    augmentation="crop_flip",
    precision="bf16-mixed",
    channels_last=True,
)
DEFAULT = Recipe("default", epochs=30, batch_size=128, lr=0.05, gradient_clip=1.0)
RECIPES = {"digits": DIGITS, ("cifar10", "cifar_resnet20"): CIFAR, ("cifar100", "cifar_resnet20"): CIFAR}


def recipe(dataset: str, network: str) -> Recipe:
    """The recipe of a pair, all settings chosen on validation accuracy."""
    return RECIPES.get((dataset, network)) or RECIPES.get(dataset, DEFAULT)


def train(data, network: str, activation: str, seed: int, root, *, device="auto", logger=None, progress=True) -> Path:
    """The path of a finished source under `root`: found, or resumed after its last whole epoch, or trained anew.

    A run that was killed and resumed gives the same weights bit for bit as one that was not (same machine and threads).
    `data.test` is never touched. `logger()`, called where there is something to train, makes a Lightning logger for
    loss, accuracies and learning rate of every epoch; the caller's random state stays as it was. UserError: an unknown
    device or network, a training that diverges.
    """
    plan, info = recipe(data.name, network), describe(data, network, activation, seed)
    weights, device = weights_file(data, network, activation, seed, root), accelerator(device)
    if weights.exists():
        return weights
    net = untrained(info, seed)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        label = f"{data.name} {network} {activation} seed {seed}"
        if progress:
            print(f"{label}: training{' goes on' if weights.with_name('last.ckpt').exists() else ''}", file=sys.stderr)
        from ann2snn import lightning

        checkpoint = weights.with_name("last.ckpt")
        how = {"device": device, "logger": logger and logger(), "progress": progress, "label": label}
        seconds = lightning.fit(net, data, plan, seed, checkpoint, **how)
    save_source(net, info | {"training_seconds": seconds, "hyperparameters": asdict(plan)}, weights)
    for leftover in set(weights.parent.iterdir()) - {weights}:
        leftover.unlink()
    return weights


def untrained(info: dict, seed: int) -> nn.Module:
    """The network that a training begins with; the caller's random state stays as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return _create(info)


def describe(data, network: str, activation: str, seed: int) -> dict:
    """What a source is: all that its weights depend on; the recipe's key stands for the hyper-parameters."""
    info = {"dataset": data.name, "data_hash": data.hash, "network": network, "activation": activation, "seed": seed}
    shape = tuple(data.shape)
    return info | {
        "recipe": recipe(data.name, network).key,
        "num_classes": data.classes,
        "in_chans": shape[0],
        "shape": shape,
        "training_seconds": None,
    }


def weights_file(data, network: str, activation: str, seed: int, root) -> Path:
    """Where the finished weights of a source lie: the key of all that they depend on."""
    folder = sources_folder(root, data.name, network, activation)
    return folder / f"seed{seed}-{recipe(data.name, network).key}-{data.hash[:8]}" / "weights.pt"


def sources_folder(root, dataset: str, network: str, activation: str) -> Path:
    """Where all sources of one network and activation lie, trained and imported."""
    return Path(root) / "sources" / slug(dataset) / f"{slug(network)}-{slug(activation)}"


def save_source(net: nn.Module, info: dict, path: Path) -> None:
    """Writes a network and its info whole or not at all, with the hash of its weights."""
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    file = io.BytesIO()
    torch.save({"info": info | {"weights_hash": weights_hash(state)}, "state_dict": state}, file)
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
        raise UserError(f"{path} is damaged, or holds more than weights; train the source again.") from error
    try:
        if not isinstance(source, dict):
            raise TypeError
        info, state, stated = source["info"], source["state_dict"], source["info"]["weights_hash"]
        with torch.random.fork_rng([]):
            net = _create(info)
        net.load_state_dict(state)
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} is no source of ann2snn (weights.pt as `ann2snn train` writes it).") from error
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{path} has a NaN or an infinity in {name}; train the source again.")
    if weights_hash(state) != stated:
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
    return "cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda"
