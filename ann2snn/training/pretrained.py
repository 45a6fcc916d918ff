"""Import of public checkpoints as source networks, stored beside those that `train` makes.

A file is identified by its hash (`CHECKPOINTS`), or by its authors' layer names (`state_dict_formats.FORMATS`).
"""

import hashlib
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from ann2snn.data.catalog import DATASETS
from ann2snn.data.imagenet import IMAGENET
from ann2snn.data.split import Normalise
from ann2snn.errors import UserError, unknown
from ann2snn.networks import activations
from ann2snn.networks.registry import input_shape
from ann2snn.training import checkpoints
from ann2snn.training.source_info import source_path
from ann2snn.training.state_dict_formats import FORMATS, translate

NAME_FIELDS = ("dataset", "network", "activation", "recipe")  # of a source info


@dataclass(frozen=True)
class Checkpoint:
    """A public file of trained weights, {"state_dict": ...}, whose names may begin with DataParallel's `module.`."""

    author: str
    url: str
    licence: str
    file: str
    sha256: str
    dataset: str
    classes: int
    network: str
    normalise: Normalise  # of the training images
    activation: str = "relu"

    @property
    def recipe(self) -> str:
        """`<author>-<hash8 of the file>`, which takes the place of a recipe's key."""
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
    """Imports a public checkpoint as a source without a seed.

    Its data hash is None, as the copy of its training data is unknown. It was trained on all official training images,
    including those of `validation` here.

    Args:
        name: A key of `CHECKPOINTS`.
        file: The downloaded file.
        root: Folder of all results.

    Returns:
        Path and info of the source.

    Raises:
        UserError: The name is unknown, or the file is not the one of that name.
    """
    if name not in CHECKPOINTS:
        raise unknown("checkpoint", name, [*CHECKPOINTS, *FORMATS])
    checkpoint = CHECKPOINTS[name]
    expected = f"{checkpoint.file} of {checkpoint.url}"
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); {name} is {expected}.") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != checkpoint.sha256:
        raise UserError(f"{file} is not {expected}: its sha256 is {digest}, not {checkpoint.sha256}.")
    info: dict = {name: getattr(checkpoint, name) for name in NAME_FIELDS} | {"checkpoint": asdict(checkpoint)}
    info |= _common_fields(checkpoint.classes, input_shape(checkpoint.network), checkpoint.normalise)
    net = checkpoints.untrained_network(info, seed=0)
    try:
        state = checkpoints.load_tensors(content)["state_dict"]
        net.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{file} does not hold the weights of {checkpoint.network} ({expected} does).") from error
    path = weights_file(root, *(info[name] for name in NAME_FIELDS))
    checkpoints.save_source(net, info, path)
    return path, info


def import_state_dict(
    name: str, file: Path | str, root: Path | str, *, dataset: str, network: str, activation: str
) -> tuple[Path, dict]:
    """Imports a state dict with the layer names of a published code as a source without a seed.

    Nothing but tensors and plain values is loaded. The format and the file's hash take the place of a recipe's key.

    Args:
        name: A key of `state_dict_formats.FORMATS`.
        file: A state dict or a dictionary that holds one, with or without DataParallel's `module.` before its names.
        root: Folder of all results.
        dataset: Name of the dataset that the network was trained on.
        network: Name of the network.
        activation: Activation spec.

    Returns:
        Path and info of the source.

    Raises:
        UserError: The file is damaged, holds other objects, or holds another network; the message names the first
            difference.
    """
    form = FORMATS[name]
    for field, value, choices in (
        ("dataset", dataset, form.normalise),
        ("network", network, form.layers),
        ("activation", activation.partition(":")[0], form.activations),
    ):
        if value not in choices:
            raise UserError(f"The {field} of {name} is one of {', '.join(choices)}, not {value!r}.")
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
    info |= _common_fields(classes, shape, form.normalise[dataset])
    net = checkpoints.untrained_network(info, seed=0)
    try:
        net.load_state_dict(translate(state, form, network, net))
    except ValueError as error:
        raise UserError(f"{file} does not hold {network} as {form.url} has it: {error}.") from error
    path = weights_file(root, *(info[name] for name in NAME_FIELDS))
    checkpoints.save_source(net, info, path)
    return path, info


def _common_fields(classes: int, shape: tuple[int, int, int], normalise: Normalise) -> dict:
    return {
        "data_hash": None,
        "seed": None,
        "training_seconds": None,
        "num_classes": classes,
        "in_chans": shape[0],
        "shape": shape,
        "normalization": asdict(normalise),
    }


def _state_dict(content: bytes, file: Path | str) -> dict[str, Tensor]:
    try:
        loaded = checkpoints.load_tensors(content)
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise UserError(
                f"{file} holds objects of its authors' code, such as a whole network: load it with that code and save"
                " the network's state_dict()."
            ) from error
        raise UserError(f"{file} is damaged, or was not written by torch.save.") from error
    for part in (loaded, *loaded.values()) if isinstance(loaded, dict) else ():
        if isinstance(part, dict) and part and all(isinstance(value, Tensor) for value in part.values()):
            return {str(key).removeprefix("module."): value for key, value in part.items()}
    raise UserError(f"{file} holds no state dict: save the network's state_dict().")


def weights_file(root: Path | str, dataset: str, network: str, activation: str, recipe: str | None) -> Path:
    """Path of imported weights below `root`."""
    values = (dataset, network, activation, recipe)
    return Path(root) / source_path(dict(zip(NAME_FIELDS, values, strict=True)) | {"seed": None})


def find(root: Path | str, dataset: str, network: str, activation: str, recipe: str | None) -> Path:
    """Path of imported weights that exist.

    Raises:
        UserError: They were not imported into `root`; the message names the command that does so.
    """
    path = weights_file(root, dataset, network, activation, recipe)
    if not path.exists():
        fix = "import them with `ann2snn import`"
        for name, checkpoint in CHECKPOINTS.items():
            if checkpoint.recipe == recipe:
                fix = f"import them with `ann2snn import {name} FILE`, FILE being {checkpoint.file} of {checkpoint.url}"
        raise UserError(f"{root} has no weights {recipe} of {network} with {activation} for {dataset}: {fix}.")
    return path
