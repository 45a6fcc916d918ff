"""Registry of datasets. A dataset is a function in a module of this folder with the decorator `dataset`.

    data = load("cifar10", root="data")
    images, labels = next(data.test.batches(100))  # float32 (100, 3, 32, 32) normalised, int64 (100,)

Nothing is ever downloaded.
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
    """Decorator that registers `f(root, accept_unofficial) -> ImageDataset` under the function's name."""
    _DATASETS[function.__name__] = function
    return function


@functools.cache
def _discover() -> None:
    """Imports all modules of this folder, which registers their datasets."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


def names() -> list[str]:
    """Names of all datasets, sorted."""
    _discover()
    return sorted(_DATASETS)


def check(name: str) -> None:
    """Raises a UserError unless `name` is the name of a dataset."""
    if name not in names():
        raise unknown("dataset", name, names())


def load(name: str, root: str | Path | None = None, *, accept_unofficial: bool = False) -> ImageDataset:
    """Reads a dataset.

    Args:
        name: Name of the dataset.
        root: The folder with the files; by default $ANN2SNN_DATA, else `data`.
        accept_unofficial: Accept files or numbers of images that are not the official ones. `official` of the result is
            then False, and a line on stderr reports missing images.

    Raises:
        UserError: The name is unknown, files are absent, damaged or not official, or a class has no training or test
            images.
    """
    check(name)
    return _DATASETS[name](Path(root or os.environ.get("ANN2SNN_DATA") or "data").expanduser(), accept_unofficial)
