"""Published numbers: `results/published.csv`, one line for each number that a paper or its code reports.

    rows = load("results/published.csv")
    find(rows, dataset="cifar10", network="deng_vgg16", paper="deng2021", pipeline="own", T=16)

One method goes by several networks and pipelines: "optimal" on the paper's own threshold-ReLU VGG-16 is 69.80 on
CIFAR-100 at T = 32, re-implemented on another VGG-16 with batch norm 7.64. Such rows stand side by side.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from ann2snn.errors import UserError

DATASETS = ("cifar10", "cifar100", "imagenet", "mnist")
CONFIDENCES = ("seen", "seen-2nd", "memory")
STEPS = re.compile(r"[1-9]\d*|>=[1-9]\d*|[1-9]\d*-[1-9]\d*|\?|", re.ASCII)


@dataclass(frozen=True)
class Published:
    """One number; accuracies in %. A remark says why it is doubtful or wrong, or what it must not be taken for."""

    paper: str  # whose method it is: "deng2021"
    year: int
    method: str  # as ours where ours is the same
    pipeline: str  # "own", or who else ran it: "re-implementation by li2021snnc"
    dataset: str
    network: str  # ours, or timm's, that is the same layer for layer; "" where there is none
    architecture: str  # in words
    ann: float | None  # of the same weights
    T: int | str | None  # as a text where it is no single number: ">=512", "400-600", "?"; None: the ANN's own row
    extra_steps: int  # simulated before the T that are counted (two-pass methods)
    accuracy: float
    source: str  # where it was read
    confidence: str  # "seen" in the work of who measured it, "seen-2nd" in someone else's, or from "memory"
    remark: str


COLUMNS = [field.name for field in fields(Published)]
OPTIONAL = ("network", "ann", "T", "extra_steps", "remark")
KEY = ("paper", "method", "pipeline", "dataset", "architecture", "T")


def load(path: Path | str) -> list[Published]:
    """The rows of a file, in order; a UserError names the file, the line and the defect."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8'}).") from None
    reader, rows, firsts, lines = csv.reader(text.splitlines()), [], {}, {}
    try:
        header = next(reader, [])
        for name in [*header, *COLUMNS]:
            if name not in COLUMNS or header.count(name) != 1:
                state = "unknown" if name not in COLUMNS else "there twice" if name in header else "missing"
                raise ValueError(f"the column {name!r} is {state}")
        for cells in reader:
            if len(cells) != len(header):
                raise ValueError(f"it has {len(cells)} cells for {len(header)} columns")
            row = _row(dict(zip(header, cells, strict=True)))
            first = firsts.setdefault(tuple(getattr(row, name) for name in KEY), row)
            if row in lines or not (first is row or (first.remark and row.remark)):
                raise ValueError(
                    f"it repeats line {lines[first]}; remove one, or say in the remarks of both why there are two"
                )
            lines[row] = reader.line_num
            rows.append(row)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}, line {max(reader.line_num, 1)}: {error}.") from None
    return rows


def find(rows: Iterable[Published], **wanted) -> list[Published]:
    """The rows whose fields equal all of `wanted`: `find(rows, dataset="cifar10", T=16)`; `T=None` finds ANN rows."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def _row(cells: dict[str, str]) -> Published:
    for name in COLUMNS:
        if name not in OPTIONAL and not cells[name].strip():
            raise ValueError(f"it has no {name}")
    for name, known in (("dataset", DATASETS), ("confidence", CONFIDENCES)):
        if cells[name] not in known:
            raise ValueError(f"{cells[name]!r} is no known {name} ({', '.join(known)})")
    if not STEPS.fullmatch(T := cells["T"]):
        raise ValueError(f"T is {T!r}; write a number of steps, '>=512', '400-600', '?', or nothing for an ANN")
    numbers = {
        "year": _whole(cells, "year"),
        "ann": _percent(cells, "ann") if cells["ann"] else None,
        "T": int(T) if T.isdecimal() else T or None,
        "extra_steps": _whole(cells, "extra_steps") if cells["extra_steps"] else 0,
        "accuracy": _percent(cells, "accuracy"),
    }
    return Published(**{**cells, **numbers})


def _whole(cells: dict[str, str], name: str) -> int:
    if not re.fullmatch(r"\d+", cells[name], re.ASCII):
        raise ValueError(f"{name} is {cells[name]!r}, not a whole number")
    return int(cells[name])


def _percent(cells: dict[str, str], name: str) -> float:
    try:
        value = float(cells[name])
    except ValueError:
        raise ValueError(f"{name} is {cells[name]!r}, not a number") from None
    if not 0 <= value <= 100:
        raise ValueError(f"{name} is {cells[name]}, not between 0 and 100 %")
    return value
