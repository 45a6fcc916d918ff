"""Public checkpoints as source networks, kept where `training` keeps its own.

A file is known by its hash (`CHECKPOINTS`), or by the names that its authors give to the layers (`formats.FORMATS`).
"""

import hashlib
import io
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ann2snn.data.catalog import DATASETS
from ann2snn.data.imagenet import IMAGENET
from ann2snn.data.split import Normalise
from ann2snn.errors import UserError, unknown
from ann2snn.networks import activations
from ann2snn.networks.registry import input_shape
from ann2snn.training import checkpoints
from ann2snn.training.state_dict_formats import FORMATS, translate

NAMES = ("dataset", "network", "activation", "recipe")  # of a source


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights that others trained: {"state_dict": ...}, its names perhaps with `module.` before them."""

    author: str
    url: str
    licence: str
    file: str
    sha256: str
    dataset: str
    classes: int
    network: str
    normalise: Normalise  # of the images in its training
    activation: str = "relu"

    @property
    def recipe(self) -> str:
        """In place of a recipe's key: the author, and the file by its hash."""
        return f"{self.author}-{self.sha256[:8]}"


CHECKPOINTS = {
    "resnet20-akamaster": Checkpoint(
        author="akamaster",
        url="https://github.com/akamaster/pytorch_resnet_cifar10",
        licence="BSD-2-Clause",
        file="resnet20-12fca82f.th",
        sha256="12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
        dataset="cifar10",
        classes=10,
        network="cifar_resnet20",
        normalise=IMAGENET,
    ),
}


def import_weights(name: str, file: Path | str, root: Path | str) -> tuple[Path, dict]:
    """Writes a public checkpoint below `root` as a source without a seed: (path, info).

    Its weights have seen every official training image, `validation` among them, and are of no copy of the data in
    particular (`data_hash` is None). UserError: an unknown name, or any other file than the one of that name.
    """
    if name not in CHECKPOINTS:
        raise unknown("checkpoint", name, [*CHECKPOINTS, *FORMATS])
    checkpoint = CHECKPOINTS[name]
    wanted = f"{checkpoint.file} of {checkpoint.url}"
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); {name} is {wanted}.") from error
    if (found := hashlib.sha256(content).hexdigest()) != checkpoint.sha256:
        raise UserError(f"{file} is not {wanted}: its sha256 is {found}, not {checkpoint.sha256}.")
    info: dict = {name: getattr(checkpoint, name) for name in NAMES} | {"checkpoint": asdict(checkpoint)}
    info |= _common(checkpoint.classes, input_shape(checkpoint.network), checkpoint.normalise)
    net = checkpoints.untrained(info, seed=0)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["state_dict"]
        net.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except Exception as error:  # whatever the file holds
        raise UserError(f"{file} does not hold the weights of {checkpoint.network} ({wanted} does).") from error
    path = weights_file(root, *(info[name] for name in NAMES))
    checkpoints.save_source(net, info, path)
    return path, info


def import_state_dict(
    name: str, file: Path | str, root: Path | str, *, dataset: str, network: str, activation: str
) -> tuple[Path, dict]:
    """Writes a state dict in the names of a format below `root` as a source without a seed: (path, info).

    The file is a state dict or a dictionary that holds one, perhaps with DataParallel's `module.` before its names; its
    recipe is the format and the file's hash. Nothing but weights is ever loaded. UserError: a file that is damaged,
    holds other things, or holds another network than the one named, with what differs first.
    """
    form = FORMATS[name]
    known = {"dataset": form.normalise, "network": form.layers, "activation": form.activations}
    for what, value in {"dataset": dataset, "network": network, "activation": activation.partition(":")[0]}.items():
        if value not in known[what]:
            raise UserError(f"The {what} of {name} is one of {', '.join(known[what])}, not {value!r}.")
    activations.make(activation)
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}).") from error
    digest = hashlib.sha256(content).hexdigest()
    state = _state_dict(content, file)
    classes, shape, *_ = DATASETS[dataset]
    last = state.get(f"{form.layers[network][-1]}.weight")
    if last is not None and last.dim() == 2 and len(last) != classes:
        raise UserError(f"{file} is for {len(last)} classes, and {dataset} has {classes}; name its own dataset.")
    info: dict = {"dataset": dataset, "network": network, "activation": activation, "recipe": f"{name}-{digest[:8]}"}
    info |= {"checkpoint": {"format": name, "url": form.url, "file": Path(file).name, "sha256": digest}}
    info |= _common(classes, shape, form.normalise[dataset])
    net = checkpoints.untrained(info, seed=0)
    try:
        net.load_state_dict(translate(state, form, network, net))
    except ValueError as error:
        raise UserError(f"{file} does not hold {network} as {form.url} has it: {error}.") from error
    path = weights_file(root, *(info[name] for name in NAMES))
    checkpoints.save_source(net, info, path)
    return path, info


def _common(classes: int, shape: tuple[int, int, int], normalise: Normalise) -> dict:
    unknown = {"data_hash": None, "seed": None, "training_seconds": None}
    read = {"num_classes": classes, "in_chans": shape[0], "shape": shape, "normalization": asdict(normalise)}
    return unknown | read


def _state_dict(content: bytes, file: Path | str) -> dict[str, Tensor]:
    try:
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the file holds
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise UserError(
                f"{file} holds objects of its authors' code, such as a whole network, and not weights alone: load it"
                " there and save the network's state_dict()."
            ) from error
        raise UserError(f"{file} is damaged, or was not written by torch.save.") from error
    for part in (held, *held.values()) if isinstance(held, dict) else ():
        if isinstance(part, dict) and part and all(isinstance(value, Tensor) for value in part.values()):
            return {str(key).removeprefix("module."): value for key, value in part.items()}
    raise UserError(f"{file} holds no state dict: save the network's state_dict().")


def weights_file(root: Path | str, dataset: str, network: str, activation: str, recipe: str | None) -> Path:
    """Where imported weights lie: among the sources that were trained on the same data."""
    values = (dataset, network, activation, recipe)
    return Path(root) / checkpoints.place(dict(zip(NAMES, values, strict=True)) | {"seed": None})


def find(root: Path | str, dataset: str, network: str, activation: str, recipe: str | None) -> Path:
    """The file of imported weights; UserError where there is none."""
    path = weights_file(root, dataset, network, activation, recipe)
    if not path.exists():
        known = [(name, c) for name, c in CHECKPOINTS.items() if c.recipe == recipe]
        mend = [f"`ann2snn import {name} FILE` brings them there, with {c.file} of {c.url}" for name, c in known]
        mend = mend or ["`ann2snn import` brings them there, and says by which names"]
        raise UserError(f"No weights {recipe} of {network} with {activation} for {dataset} lie in {root}: {mend[0]}.")
    return path
