"""Finds, reads and checks the files of a dataset; every error is one sentence with a fix."""

import gzip
import hashlib
import os
import shlex
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ann2snn.errors import UserError

NAMING = "by --data-root or ANN2SNN_DATA"


@dataclass(frozen=True)
class Layout:
    """A format in which a dataset is distributed: files in a folder, plain or gzipped, and an archive of the folder.

    Attributes:
        title: Title of the dataset, which is also the name of its class in torchvision.
        folder: Name of the folder.
        files: {name: (MD5 of the plain file, number of images)}.
        decode: Arrays of a file's content; raises a ValueError if it is damaged.
        archive: (name, MD5) of the archive; empty if there is none.
    """

    title: str
    folder: str
    files: dict[str, tuple[str, int]]
    decode: Callable[[bytes], tuple[np.ndarray, ...]]
    archive: tuple[str, str] = ("", "")

    def missing(self, folder: Path) -> list[str]:
        """Names of the files that are absent from a folder."""
        return [name for name in self.files if not any(map(os.path.isfile, (folder / name, folder / f"{name}.gz")))]


LAYOUTS: dict[str, tuple[Layout, ...]] = {}  # by name of the dataset


def read_files(name: str, root: Path, accept_unofficial: bool) -> tuple[list, bool, Path]:
    """Reads all files of a dataset.

    Args:
        name: Name of the dataset.
        root: The folder that holds the dataset's folder, or its files.
        accept_unofficial: Accept files with another MD5 than the official ones.

    Returns:
        The decoded arrays of every file; whether all files are official; the folder of the files.

    Raises:
        UserError: Files are absent, damaged or not official.
    """
    layouts = LAYOUTS[name]
    found = _find(root, layouts)
    if not found:
        raise _not_found(root, layouts)
    layout, folder = found
    if missing := layout.missing(folder):
        raise UserError(f"{folder} lacks {', '.join(missing)}; {_fix_for(folder, layout)}.")
    parts, official = [], True
    for file, (md5, images) in layout.files.items():
        path = folder / file if os.path.isfile(folder / file) else folder / f"{file}.gz"
        content, part = _decoded(path, layout)
        actual_md5 = hashlib.md5(content).hexdigest()
        if actual_md5 != md5:
            complete = len(part[0]) == images
            reason = f"its md5 is {actual_md5}, not {md5}" if complete else f"{len(part[0]):,} images, not {images:,}"
            defect = f"{path} is not the official file ({reason})"
            if not accept_unofficial:
                raise unofficial_error(defect, _fix_for(folder, layout))
            if not complete:
                warn_unofficial(defect)
            official = False
        parts.append(part)
    return parts, official, folder


def unofficial_error(defect: str, fix: str) -> UserError:
    """The error for files that are not official, unless the user accepts them."""
    return UserError(f"{defect}; {fix}, or take it as it is with --accept-unofficial-data.")


def warn_unofficial(defect: str) -> None:
    """Reports on stderr that files which are not official are used."""
    print(f"{defect}: taken as it is, and its records are marked.", file=sys.stderr)


def _decoded(path: Path, layout: Layout) -> tuple[bytes, tuple[np.ndarray, ...]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); fix that and run it again.") from error
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        if not content:
            raise ValueError("it is empty")
        return content, layout.decode(content)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error}; {_fix_for(path.parent, layout)}.") from error


def _find(root: Path, layouts: tuple[Layout, ...]) -> tuple[Layout, Path] | None:
    """The layout and folder (below root, or root itself) with the fewest missing files; None if all are missing."""
    candidates = [(layout, folder) for layout in layouts for folder in (root / layout.folder, root)]
    layout, folder = min(candidates, key=lambda candidate: len(candidate[0].missing(candidate[1])))
    return (layout, folder) if len(layout.missing(folder)) < len(layout.files) else None


def _archive(base: Path, layout: Layout) -> tuple[Path, bool] | None:
    """An archive in a folder, and whether it is complete; a complete one is preferred to an unfinished download."""
    name, md5 = layout.archive
    found = []
    for path in filter(Path.is_file, base.glob(f"{name}*") if name else ()):
        with path.open("rb") as file:
            found.append((path, hashlib.file_digest(file, "md5").hexdigest() == md5))
    return max(found, key=lambda archive: archive[1], default=None)


def _fix_for(folder: Path, layout: Layout) -> str:
    """How to fix the files of a folder."""
    base = folder.parent if folder.name == layout.folder else folder
    if not (found := _archive(base, layout)):
        return "fetch it again"
    path, complete = found
    if complete:
        return f"extract it again: `{_extract(path, base)}`"
    return f"fetch it again, as {path.name} is cut short or not the official file"


def _extract(path: Path, base: Path) -> str:
    return shlex.join(["tar", "-xzf", str(path), "-C", str(base)])


def _not_found(root: Path, layouts: tuple[Layout, ...]) -> UserError:
    title, wanted = layouts[0].title, f"folder {' or '.join(layout.folder for layout in layouts)} with all its files"
    fetch = f'`python -c "from torchvision.datasets import {title} as d; d({str(root)!r}, download=True)"` fetches it'
    if archives := [archive for layout in layouts if (archive := _archive(root, layout))]:
        path, complete = max(archives, key=lambda archive: archive[1])
        if complete:
            return UserError(f"{path} is not extracted: `{_extract(path, root)}` does it.")
        size = path.stat().st_size
        return UserError(f"{path} is cut short or not the official file ({size:,} bytes): {fetch} again.")
    return not_found_error(root, title, wanted, lambda folder: _find(folder, layouts), fetch)


def not_found_error(root: Path, title: str, wanted: str, has: Callable[[Path], object], fetch: str) -> UserError:
    """The error for a dataset that is not in `root`: names a nearby folder that has it, or what `root` holds.

    Args:
        root: The folder that was searched.
        title: Title of the dataset.
        wanted: Description of the missing files.
        has: Whether a folder holds the dataset.
        fetch: How to get the dataset.
    """
    if root.is_file():
        return UserError(f"{root} is a file: name its folder, {root.parent}, {NAMING}.")
    entries = sorted(os.scandir(root), key=lambda entry: entry.name) if root.is_dir() else []
    folders = [Path(entry) for entry in entries if entry.is_dir()]
    for folder in (*root.absolute().parents[:2], *folders):
        if has(folder):
            return UserError(f"{title} is not in {root} but in {folder}: name that {NAMING}.")
    held = [name for name, layouts in LAYOUTS.items() if _find(root, layouts)]
    held = held or [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    more = f" and {len(held) - 3} more" if len(held) > 3 else ""
    state = f"holds {', '.join(held[:3])}{more}" if held else "is empty" if root.is_dir() else "does not exist"
    return UserError(
        f"{title} is not in {root}, which {state}: put its {wanted} there, or name its folder {NAMING}; {fetch}."
    )


def check_images_and_labels(images: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (images, labels as int64); raises a ValueError if they are not those of so many classes."""
    if images.dtype != np.uint8 or len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"it has {len(images)} images of {images.dtype} and {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"it has labels from {labels.min()} to {labels.max()}, where there are {classes} classes")
    return images, labels.astype(np.int64)


def check_all_classes(folder: Path, classes: int, **parts: np.ndarray) -> None:
    """Raises a UserError unless every part has images of every class.

    Args:
        folder: The folder, for the message.
        classes: Number of classes.
        parts: Labels of each part, by its name.
    """
    for part, labels in parts.items():
        if missing := sorted(set(range(classes)) - set(labels.tolist())):
            raise UserError(
                f"The {part} images in {folder} have none of class {missing[0]}"
                f" ({classes - len(missing)} of {classes} classes are there): fetch the files again."
            )
