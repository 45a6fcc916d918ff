"""What the info of a trained source has to hold, beside its weights."""

import re
from types import NoneType
from typing import Any

from ann2snn.conform import check_names, conform

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
MAX_SIZE = 2**16  # of classes, channels and sides of an image


def validate(info) -> None:
    """ValueError with the defect, unless a source can be built and its data normalised as `info` says."""
    info = _lists(info)
    if isinstance(info, dict) and info.get("normalization", 0) is None:
        info = {key: value for key, value in info.items() if key != "normalization"}
    conform(info, SCHEMA, "info", LATER)
    check_names({name: info[name] for name in ("dataset", "network", "activation", "recipe")})
    sizes = [info["num_classes"], info["in_chans"], *info["shape"]]
    if len(info["shape"]) != 3 or info["shape"][0] != info["in_chans"] or not all(0 < n <= MAX_SIZE for n in sizes):
        raise ValueError("its classes, channels and image sizes are none that a network has")
    if (info["seed"] is None) != (info["data_hash"] is None):
        raise ValueError("only one of its seed and data hash is known")
    if not re.fullmatch("[0-9a-f]{64}", info["weights_hash"]):
        raise ValueError("its hash of the weights is no SHA-256")
    if how := info.get("normalization"):
        if how.keys() != {"mean", "std", "scale"} or not all(how["std"]) or not how["scale"]:
            raise ValueError("its normalization is not a mean, a standard deviation and a scale")
        if len(how["mean"]) != info["in_chans"] or len(how["std"]) != info["in_chans"]:
            raise ValueError(f"its normalization is not of {info['in_chans']} channels")


def _lists(value) -> Any:
    """The same with lists in place of tuples, as JSON has them."""
    if isinstance(value, dict):
        return {key: _lists(x) for key, x in value.items()}
    return [_lists(x) for x in value] if isinstance(value, list | tuple) else value
