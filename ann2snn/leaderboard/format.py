"""Numbers and Markdown text for tables."""

import html
from collections.abc import Iterable

from ann2snn.leaderboard.rows import Estimate, Row


def escaped(records: Iterable[dict]) -> list[dict]:
    """The records with names of their jobs that Markdown and HTML show as text: `|`, `<`, backticks, line breaks.

    Records whose names hold no markup are the same afterwards.
    """
    return [record | {"job": _escaped(record["job"])} for record in records]


def _escaped(value):
    if isinstance(value, dict):
        return {_escaped(name): _escaped(entry) for name, entry in value.items()}
    if not isinstance(value, str):
        return value
    text = html.escape(" ".join(value.split("\n")), quote=False)
    for mark in "|`[]*":
        text = text.replace(mark, f"&#{ord(mark)};")
    return text


DAGGER, UNOFFICIAL = "†", "Measured on data whose checksum is not the official one."


def points(cell: Estimate | str | None, n: int = 1, digits: int = 2) -> str:
    """A share in points: `97.31 ± 0.32`; with its own n where that is not `n`, the row's."""
    if not isinstance(cell, Estimate):
        return cell or "not run"
    text = f"{float(100 * cell.mean):z.{digits}f}"
    if cell.std is not None:
        text += f" ± {100 * cell.std:.{digits}f}"
    return text if cell.n == n else f"{text} (n = {cell.n})"


def smallest(row: Row) -> str:
    """`16 (97.31)`: the smallest T within 1 point of the ANN on validation, and its test accuracy; `> 32`: none."""
    if row.ann_on_validation is None:
        return "-"
    T = row.smallest_T
    return f"> {row.T[-1]}" if T is None else f"{T} ({points(row.accuracy(T), row.n)})"
