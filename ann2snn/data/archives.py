"""Finding, reading and checking the files of a dataset; what is wrong with them is one sentence with its mend."""

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

NAME_IT = "by --data-root or ANN2SNN_DATA"


@dataclass(frozen=True)
class Layout:
    """One form in which a dataset is given out: the files of a folder, plain or gzipped, and the archive of it."""

    title: str  # of the dataset, and its class in torchvision
    folder: str
    files: dict[str, tuple[str, int]]  # name: (md5 of the plain file, images in it)
    decode: Callable[[bytes], tuple[np.ndarray, ...]]  # ValueError if the file is damaged
    archive: tuple[str, str] = ("", "")  # (name, md5)

    def missing(self, place: Path) -> list[str]:
        return [name for name in self.files if not any(map(os.path.isfile, (place / name, place / f"{name}.gz")))]


LAYOUTS: dict[str, tuple[Layout, ...]] = {}  # by the name of the dataset


def read(name: str, root: Path, accept_unofficial: bool) -> tuple[list, bool, Path]:
    """What `decode` makes of every file, whether all are the official ones, and the folder that they lie in."""
    layouts = LAYOUTS[name]
    if not (found := _find(root, layouts)):
        raise _packed_or_absent(root, layouts)
    layout, place = found
    if missing := layout.missing(place):
        raise UserError(f"{place} lacks {', '.join(missing)}; {_again(place, layout)}.")
    parts, official = [], True
    for file, (md5, images) in layout.files.items():
        path = place / file if os.path.isfile(place / file) else place / f"{file}.gz"
        content, part = _decoded(path, layout)
        if (found_md5 := hashlib.md5(content).hexdigest()) != md5:
            whole = len(part[0]) == images
            how = f"its md5 is {found_md5}, not {md5}" if whole else f"{len(part[0]):,} images, not {images:,}"
            if not accept_unofficial:
                raise unofficial(f"{path} is not the official file ({how})", _again(place, layout))
            if not whole:
                accepted(f"{path} is not the official file ({how})")
            official = False
        parts.append(part)
    return parts, official, place


def unofficial(defect: str, mend: str) -> UserError:
    return UserError(f"{defect}; {mend}, or take it as it is with --accept-unofficial-data.")


def accepted(defect: str) -> None:
    print(f"{defect}: taken as it is, and its records are marked.", file=sys.stderr)


def _decoded(path: Path, layout: Layout) -> tuple[bytes, tuple[np.ndarray, ...]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend that and run it again.") from error
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        if not content:
            raise ValueError("it is empty")
        return content, layout.decode(content)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error}; {_again(path.parent, layout)}.") from error


def _find(root: Path, layouts: tuple[Layout, ...]) -> tuple[Layout, Path] | None:
    """The layout, and its folder or root itself, that lacks the fewest files; None where there is none at all."""
    places = [(layout, place) for layout in layouts for place in (root / layout.folder, root)]
    layout, place = min(places, key=lambda found: len(found[0].missing(found[1])))
    return (layout, place) if len(layout.missing(place)) < len(layout.files) else None


def _archive(base: Path, layout: Layout) -> tuple[Path, bool] | None:
    """An archive in a folder, also of an unfinished download, and whether it is whole; a whole one comes first."""
    name, md5 = layout.archive
    found = []
    for path in filter(Path.is_file, base.glob(f"{name}*") if name else ()):
        with path.open("rb") as file:
            found.append((path, hashlib.file_digest(file, "md5").hexdigest() == md5))
    return max(found, key=lambda archive: archive[1], default=None)


def _again(place: Path, layout: Layout) -> str:
    """How to mend the files of a folder."""
    base = place.parent if place.name == layout.folder else place
    if not (found := _archive(base, layout)):
        return "fetch it again"
    path, whole = found
    if whole:
        return f"extract it again: `{_extract(path, base)}`"
    return f"fetch it again, as {path.name} is cut short or not the official file"


def _extract(path: Path, base: Path) -> str:
    return shlex.join(["tar", "-xzf", str(path), "-C", str(base)])


def _packed_or_absent(root: Path, layouts: tuple[Layout, ...]) -> UserError:
    title, wanted = layouts[0].title, f"folder {' or '.join(layout.folder for layout in layouts)} with all its files"
    fetch = f'`python -c "from torchvision.datasets import {title} as d; d({str(root)!r}, download=True)"` fetches it'
    if archives := [archive for layout in layouts if (archive := _archive(root, layout))]:
        path, whole = max(archives, key=lambda archive: archive[1])
        if whole:
            return UserError(f"{path} is not extracted: `{_extract(path, root)}` does it.")
        size = path.stat().st_size
        return UserError(f"{path} is cut short or not the official file ({size:,} bytes): {fetch} again.")
    return absent(root, title, wanted, lambda place: _find(place, layouts), fetch)


def absent(root: Path, title: str, wanted: str, has: Callable[[Path], object], fetch: str) -> UserError:
    """What to say where a dataset is not found: where near `root` it is, or what is there, and how it is had."""
    if root.is_file():
        return UserError(f"{root} is a file: name its folder, {root.parent}, {NAME_IT}.")
    entries = sorted(os.scandir(root), key=lambda entry: entry.name) if root.is_dir() else []
    folders = [Path(entry) for entry in entries if entry.is_dir()]
    for place in (*root.absolute().parents[:2], *folders):
        if has(place):
            return UserError(f"{title} is not in {root} but in {place}: name that {NAME_IT}.")
    held = [name for name, layouts in LAYOUTS.items() if _find(root, layouts)]
    held = held or [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    more = f" and {len(held) - 3} more" if len(held) > 3 else ""
    what = f"holds {', '.join(held[:3])}{more}" if held else "is empty" if root.is_dir() else "does not exist"
    return UserError(
        f"{title} is not in {root}, which {what}: put its {wanted} there, or name the place {NAME_IT}; {fetch}."
    )


def checked(images: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    if images.dtype != np.uint8 or len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"it has {len(images)} images of {images.dtype} and {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"it has labels from {labels.min()} to {labels.max()}, where there are {classes} classes")
    return images, labels.astype(np.int64)


def all_classes(place: Path, classes: int, **parts: np.ndarray) -> None:
    """UserError unless every part, labels by its name, has images of every class."""
    for part, labels in parts.items():
        if missing := sorted(set(range(classes)) - set(labels.tolist())):
            raise UserError(
                f"The {part} images in {place} have none of class {missing[0]}"
                f" ({classes - len(missing)} of {classes} classes are there): fetch the files again."
            )
