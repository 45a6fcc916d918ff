"""Today's results beside the committed ones."""

from typing import NamedTuple

from ann2snn.leaderboard.pages.leaderboard import SHORT, _source
from ann2snn.leaderboard.rows import Row, require, sections


class Compared(NamedTuple):
    """One cell that both folders have, over the jobs that both have; shares from 0 to 1."""

    section: str
    row: str
    T: int
    today: float
    committed: float
    difference: float


def compare(today: list[dict], committed: list[dict]) -> list[Compared]:
    """Today's records beside the committed records of the same jobs."""
    theirs = {record["id"]: record for record in committed}
    ours = {record["id"]: record for record in today if record["id"] in theirs}
    rows = []
    for section in sections(list(ours.values())):
        for row in section.rows:
            twin = Row([theirs[record["id"]] for record in row.records], {})
            for T in row.T:
                both = zip(row.records, twin.records, strict=True)
                pairs = [(a, b) for a, b in both if str(T) in a["T"] and str(T) in b["T"]]
                if pairs:
                    a, b = (require(Row(list(side), {}).accuracy(T)).mean for side in zip(*pairs, strict=True))
                    place = f"{section.dataset} / {section.network} / {_source(section, row)}"
                    rows.append(Compared(place, section.method(row), T, float(a), float(b), float(a - b)))
    return rows


def comparison_table(rows: list[Compared], T: tuple[int, ...] = SHORT) -> str:
    """Accuracy in % today, as committed, and the difference in points (`=`: none at all); three T's fit 80 columns."""
    if not rows:
        return "No result of today has a committed one to compare with.\n"
    cells = {(row.section, row.row, row.T): row for row in rows}
    width = max(16, *(len(row.row) for row in rows))
    lines = []
    for section in dict.fromkeys(row.section for row in rows):
        headers = " ".join(f"{side:^{5 * len(T)}}" for side in ("today", "committed", "difference"))
        grid = " ".join(["".join(f"{t:>5}" for t in T)] * 3)
        lines += [section, f"{'':{width}} {headers}".rstrip(), f"{'T =':{width}} {grid}"]
        for name in dict.fromkeys(row.row for row in rows if row.section == section):
            found = [cells.get((section, name, t)) for t in T]
            today, committed = (
                "".join(_narrow(cell and 100 * getattr(cell, side)) for cell in found)
                for side in ("today", "committed")
            )
            change = "".join(
                f"{'=':>5}" if cell and not cell.difference else _narrow(cell and 100 * cell.difference, "+")
                for cell in found
            )
            lines.append(f"{name:{width}} {today} {committed} {change}")
        lines.append("")
    equal = sum(row.difference == 0 for row in rows)
    largest = max(abs(row.difference) for row in rows)
    lines.append(
        f"{equal} of {len(rows)} cells (all T's) are equal; the largest difference: {100 * largest:.2f} points."
    )
    return "\n".join(lines) + "\n"


def _narrow(number: float | None, sign: str = "") -> str:
    """In 5 columns, the first of them empty: ` 97.3`, `  100`, ` +0.3`, `  +12`."""
    if number is None:
        return f"{'-':>5}"
    text = f"{number:{sign}.1f}"
    return f"{text if len(text) < 5 else f'{number:{sign}.0f}':>5}"
