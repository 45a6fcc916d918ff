"""Public checkpoints as source networks: known by the hash of their file, kept where `training` keeps its own."""

import hashlib
import io
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

import torch

from ann2snn import networks, training
from ann2snn.data import Normalise
from ann2snn.errors import UserError
from ann2snn.records import slug


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
        normalise=Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ),
}


def import_weights(name: str, file: Path | str, root: Path | str) -> tuple[Path, dict]:
    """Writes a public checkpoint below `root` as a source without a seed: (path, info).

    Its weights have seen every official training image, `validation` among them, and are of no copy of the data in
    particular (`data_hash` is None). UserError: an unknown name, or any other file than the one of that name.
    """
    if name not in CHECKPOINTS:
        near = get_close_matches(name, CHECKPOINTS) or list(CHECKPOINTS)
        raise UserError(f"No checkpoint is called {name!r}; there are: {', '.join(near)}.")
    checkpoint = CHECKPOINTS[name]
    wanted = f"{checkpoint.file} of {checkpoint.url}"
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); {name} is {wanted}.") from error
    if (found := hashlib.sha256(content).hexdigest()) != checkpoint.sha256:
        raise UserError(f"{file} is not {wanted}: its sha256 is {found}, not {checkpoint.sha256}.")
    shape = networks.input_shape(checkpoint.network)
    info = {name: getattr(checkpoint, name) for name in ("dataset", "network", "activation", "recipe")}
    info |= {"data_hash": None, "seed": None, "training_seconds": None}
    info |= {"num_classes": checkpoint.classes, "in_chans": shape[0], "shape": shape}
    info |= {"normalization": asdict(checkpoint.normalise), "checkpoint": asdict(checkpoint)}
    net = training.untrained(info, seed=0)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["state_dict"]
        net.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except Exception as error:  # whatever the file holds
        raise UserError(f"{file} does not hold the weights of {checkpoint.network} ({wanted} does).") from error
    path = weights_file(root, *(info[name] for name in ("dataset", "network", "activation", "recipe")))
    training.save_source(net, info, path)
    return path, info


def weights_file(root: Path | str, dataset: str, network: str, activation: str, recipe: str | None) -> Path:
    """Where imported weights lie: among the sources that were trained on the same data."""
    folder = training.sources_folder(root, dataset, network, activation)
    return folder / f"imported-{slug(recipe)}" / "weights.pt"


def find(root: Path | str, dataset: str, network: str, activation: str, recipe: str | None) -> Path:
    """The file of imported weights; UserError where there is none."""
    path = weights_file(root, dataset, network, activation, recipe)
    if not path.exists():
        raise UserError(
            f"No weights {recipe} of {network} with {activation} for {dataset} lie in {root}:"
            " `ann2snn import` brings them there, and says by which names."
        )
    return path
