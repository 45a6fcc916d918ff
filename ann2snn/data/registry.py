"""Datasets by name. A dataset is one function in a file of this folder, found by its decorator.

    data = load("cifar10", root="data")
    images, labels = next(data.test.batches(100))  # float32 (100, 3, 32, 32) normalised, int64 (100,)

Nothing is downloaded.
"""

import functools
import importlib
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path

from ann2snn.data.split import ImageDataset
from ann2snn.errors import unknown

_DATASETS: dict[str, Callable[[Path, bool], ImageDataset]] = {}


def dataset(function):
    """Registers `f(root, accept_unofficial) -> ImageDataset` under its own name."""
    _DATASETS[function.__name__] = function
    return function


@functools.cache
def _discover() -> None:
    """Imports every file of this folder, so that its datasets are registered."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


def names() -> list[str]:
    _discover()
    return sorted(_DATASETS)


def check(name: str) -> None:
    """UserError for a name that no dataset has."""
    if name not in names():
        raise unknown("dataset", name, names())


def load(name: str, root: str | Path | None = None, *, accept_unofficial: bool = False) -> ImageDataset:
    """Reads a dataset from the folder `root` (else $ANN2SNN_DATA, else `data`).

    UserError: an unknown name; absent or damaged files; a class without training or test images; files or numbers of
    images other than the official ones, unless `accept_unofficial`: then `official` of the result is False, and a line
    on stderr says where images are missing.
    """
    check(name)
    return _DATASETS[name](Path(root or os.environ.get("ANN2SNN_DATA") or "data").expanduser(), accept_unofficial)
