"""Finding, reading and checking the files of a dataset."""

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ann2snn.errors import UserError


def find(root: Path, folder: str, files) -> Path | None:
    """The folder below root, or root itself, that has any of the files, plain or gzipped."""
    for place in (root / folder, root):
        if any((place / name).is_file() for file in files for name in (file, f"{file}.gz")):
            return place
    return None


def absent(root: Path, what: str, torchvision_class: str) -> UserError:
    return UserError(
        f"{torchvision_class} is not in {root}: put its {what} there, or name the place by --data-root or ANN2SNN_DATA;"
        f' `python -c "from torchvision.datasets import {torchvision_class} as d; d({str(root)!r}, download=True)"`'
        " fetches it."
    )


def read(folder: Path, md5s: dict[str, str], decode: Callable, accept_unofficial: bool) -> tuple[list, bool]:
    """`decode(bytes)` of every file (ValueError if it is damaged), and whether all are the official ones."""
    parts, official = [], True
    for name, md5 in md5s.items():
        path = folder / name
        try:
            content = path.read_bytes() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path} is missing; fetch it again.") from None
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path} cannot be read: {error}.") from error
        try:
            parts.append(decode(content))
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}; fetch it again.") from error
        if (found := hashlib.md5(content).hexdigest()) != md5:
            if not accept_unofficial:
                raise UserError(
                    f"{path} is not the official file (its md5 is {found}, not {md5});"
                    " fetch it again, or take it as it is with --accept-unofficial-data."
                )
            official = False
    return parts, official


def checked(images: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    if images.dtype != np.uint8 or len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"it has {len(images)} images of {images.dtype} and {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"it has labels from {labels.min()} to {labels.max()}, where there are {classes} classes")
    return images, labels.astype(np.int64)
