"""The info of a source ANN: what its weights depend on, how it is stored, and where."""

import re
from pathlib import Path
from types import NoneType
from typing import Any

from ann2snn.conform import check_names, conform
from ann2snn.files import slug
from ann2snn.training.recipes import recipe_of

SCHEMA = {
    **dict.fromkeys(("dataset", "network", "activation", "recipe", "weights_hash"), str),
    "data_hash": (str, NoneType),
    "seed": (int, NoneType),
    "num_classes": int,
    "in_chans": int,
    "shape": [int],
    "training_seconds": (float, NoneType),
}
LATER = {"normalization": {"mean": [float], "std": [float], "scale": float}, "trained_on": [str]}
MAX_SIZE = 2**16  # classes, channels, and height or width of an image


def source_info(data, network: str, activation: str, seed: int, recipe: str | None = None) -> dict:
    """Everything that the weights of a trained source depend on.

    Args:
        data: The `ImageDataset` that it is trained on.
        network: Name of the network.
        activation: Activation spec, such as `threshold_relu:1`.
        seed: Training seed.
        recipe: Name of the recipe; None for the default of dataset and network. Its key stands for all
            hyper-parameters.
    """
    info = {"dataset": data.name, "data_hash": data.hash, "network": network, "activation": activation, "seed": seed}
    shape = tuple(data.shape)
    return info | {
        "recipe": recipe_of(data.name, network, recipe).key,
        "num_classes": data.classes,
        "in_chans": shape[0],
        "shape": shape,
        "training_seconds": None,
    }


def source_path(info: dict) -> Path:
    """Path of a source's weights, relative to the results folder: one folder per network and activation."""
    if info["seed"] is None:
        name = f"imported-{slug(info['recipe'])}"
    else:
        name = f"seed{info['seed']}-{info['recipe']}-{info['data_hash'][:8]}"
    kind = f"{slug(info['network'])}-{slug(info['activation'])}"
    return Path("sources") / slug(info["dataset"]) / kind / name / "weights.pt"


def validate(info) -> None:
    """Checks that a source can be built and its data normalised from `info`.

    Raises:
        ValueError: A field is missing, of a wrong type, or contradicts another one.
    """
    info = _tuples_to_lists(info)
    if isinstance(info, dict) and info.get("normalization", 0) is None:
        info = {key: value for key, value in info.items() if key != "normalization"}
    conform(info, SCHEMA, "info", LATER)
    check_names({name: info[name] for name in ("dataset", "network", "activation", "recipe")})
    sizes = [info["num_classes"], info["in_chans"], *info["shape"]]
    if len(info["shape"]) != 3 or info["shape"][0] != info["in_chans"] or not all(0 < n <= MAX_SIZE for n in sizes):
        raise ValueError("its classes, channels and image sizes are not those of a network")
    if (info["seed"] is None) != (info["data_hash"] is None):
        raise ValueError("it has only one of its seed and data hash")
    if not re.fullmatch("[0-9a-f]{64}", info["weights_hash"]):
        raise ValueError("its weights hash is not a SHA-256")
    if normalization := info.get("normalization"):
        if (
            normalization.keys() != {"mean", "std", "scale"}
            or not all(normalization["std"])
            or not normalization["scale"]
        ):
            raise ValueError("its normalization is not a mean, a standard deviation and a scale")
        if {len(normalization["mean"]), len(normalization["std"])} != {info["in_chans"]}:
            raise ValueError(f"its normalization is not of {info['in_chans']} channels")


def _tuples_to_lists(value) -> Any:
    """`value` with lists in place of tuples, as JSON has them."""
    if isinstance(value, dict):
        return {key: _tuples_to_lists(x) for key, x in value.items()}
    return [_tuples_to_lists(x) for x in value] if isinstance(value, list | tuple) else value
