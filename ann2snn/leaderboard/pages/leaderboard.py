"""`LEADERBOARD.md` and `leaderboard.csv`: the accuracies of all records, by dataset and network."""

import csv
import io
from collections.abc import Callable, Iterable

from tabulate import tabulate

from ann2snn.files import slug
from ann2snn.leaderboard.format import DAGGER, UNOFFICIAL, escaped, points, smallest
from ann2snn.leaderboard.rows import DISTINGUISHING_FIELDS, Row, Section, require, sections, snn, steps
from ann2snn.records.job import PROTOCOL, Job

GRID = (1, 2, 4, 8, 16, 32, 64, 128)
SHORT = (8, 16, 32)
ALPHA = 0.05

HEAD = """\
# Leaderboard

<!-- Generated from records/ by `ann2snn leaderboard`. Do not edit. -->

This page, [leaderboard.csv](leaderboard.csv) (every number, one line for each row and T) and the figures are generated
from [records/](records) by `ann2snn leaderboard`; `ann2snn leaderboard --check` fails if one of them is stale.

- **Accuracy** is in % of all test images. **T** counts every simulated step, under a constant input current (protocol
  {protocol}).
- **Method**: the name, with the options that are not at their defaults. Soft reset is a default.
- **n** is the number of independently trained source ANNs, and **±** the sample standard deviation over them.
  Calibration seeds are averaged within a source and never counted; imported weights are n = 1.
- **Image s.e.** is the standard error due to the sampling of the test images, sqrt(p (1 - p) / images), at the largest
  T of the row. It is not part of ±, since all rows use the same images.{caveat}
- **Loss** is ANN - SNN of the same weights, **distance** is the ReLU ANN of the same recipe and seed - SNN. Both are
  paired by seed and in percentage points. A negative value favours the SNN.
- **T within 1 point** is the smallest T whose *validation* accuracy is within 1 point of the ANN's, with the
  *test* accuracy at that T in brackets. `> 32`: no simulated T is; `-`: imported weights, which were trained on the
  validation images.
- `deng_code` is not a separate method: it is `optimal` with one convention of the paper's released code, such as the
  shift applied twice ([PAPER.md](PAPER.md), *conventions*).
- Rows are ordered by accuracy at T = 16, best first. `not run`: no record has that T. `n/a`: the T lies in the
  warm-up of the method, which has no output.
"""


CAVEAT = """
  {images} images are enough to order clearly different rows, but not to compare rows within a point or so."""
SMALL_TEST_SET = 1000


def markdown(records: list[dict]) -> str:
    """The text of LEADERBOARD.md."""
    records = escaped(records)
    all_sections = sections(records)
    images = min(row.n_test for section in all_sections for row in section.rows)
    parts = [HEAD.format(protocol=PROTOCOL, caveat=CAVEAT.format(images=images) if images < SMALL_TEST_SET else "")]
    if any(not row.official for section in all_sections for row in section.rows):
        parts.append(f"{DAGGER} {UNOFFICIAL}\n")
    parts += [_section(section) for section in all_sections]
    parts.append(_declines(records, all_sections))
    return "\n".join(parts)


def _section(section: Section) -> str:
    first = section.rows[0]
    sizes = sorted({row.records[0]["network"]["parameters"] for row in section.rows})  # thresholds can be parameters
    about = [f"{first.n_test:,} test images", f"{' or '.join(f'{size:,}' for size in sizes)} parameters"]
    same = [name for name in DISTINGUISHING_FIELDS if name not in section.varies]
    about += [f"{name.replace('_', ' ')} {str(getattr(first.job, name))[:24]}" for name in same]
    parts = [
        f"## {section.dataset}, {section.network}\n",
        ", ".join(about) + ".\n",
        f"![Accuracy over T](figures/{figure_name(section)}.svg)\n",
        "Accuracy (%)\n",
        _accuracy_table(section),
        "Loss: ANN - SNN of the same weights (points)\n",
        _table(section, lambda row, T: row.loss(T)),
    ]
    if any(row.distance(T) for row in section.rows for T in row.T):
        parts.append("Distance: ReLU ANN of the same recipe and seed - SNN (points)\n")
        parts.append(_table(section, lambda row, T: row.distance(T) or ("-" if row.accuracy(T) else None)))
    else:
        parts.append("No ReLU ANN of the same recipe was run: no distance to one.\n")
    return "\n".join(parts)


Column = tuple[str, Callable[[Row], str]]  # header, and the cell of a row


def _accuracy_table(section: Section) -> str:
    before: list[Column] = [("n", lambda row: str(row.n)), ("ANN", lambda row: points(row.ann, row.n))]
    after: list[Column] = [
        ("image s.e.", lambda row: f"{100 * require(row.sampling_error(row.T[-1])):.2f}"),
        ("T within 1 point", smallest),
    ]
    return _table(section, lambda row, T: row.accuracy(T), before, after)


def _table(section: Section, cell: Callable, before: Iterable[Column] = (), after: Iterable[Column] = ()) -> str:
    """A line per row, with `cell(row, T)` at every T, between further columns."""
    grid = sorted({*GRID, *(T for row in section.rows for T in row.T)})
    lines = []
    for row in section.rows:
        at_T = [points(cell(row, T), row.n) if row.warmup < T else "n/a" for T in grid]
        left, right = ([text(row) for _, text in columns] for columns in (before, after))
        lines.append([_source(section, row), section.method(row), *left, *at_T, *right])
    times = [f"T = {T}" for T in grid]
    headers = ["source", "method", *(name for name, _ in before), *times, *(name for name, _ in after)]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True) + "\n"


def figure_name(section: Section) -> str:
    """File name of a section's figure, without its extension."""
    return f"{slug(section.dataset)}-{slug(section.network)}"


def _source(section: Section, row: Row) -> str:
    return section.source(row) + ("" if row.official else f" {DAGGER}")


def _declines(records: list[dict], all_sections: list[Section]) -> str:
    names = {row.job.row: (section, row) for section in all_sections for row in section.rows}
    pairs = steps(records)
    falls = sorted((s for s in pairs if s.lost > s.won), key=lambda s: s.p)
    text = ["## Where accuracy falls as T grows\n"]
    text.append(
        f"Every pair of adjacent T's of every record was compared on the same test images (exact two-sided McNemar\n"
        f"test). The p-values are adjusted over all {len(pairs)} pairs of this page, rising ones included (Holm).\n"
    )
    if falls and falls[0].p < ALPHA:
        lines = []
        for fall in (s for s in falls if s.p < ALPHA):
            job = Job(**fall.record["job"])
            section, row = names[job.row]
            T, later = fall.T
            where = [section.dataset, section.network, section.source(row), section.method(row)]
            seeds = f"{'imported' if job.seed is None else job.seed}, {job.calibration_seed}"
            accuracies = (f"{100 * float(require(snn(fall.record, t))):.2f}" for t in fall.T)
            lines.append(
                [*where, seeds, f"{T} → {later}", " → ".join(accuracies), f"{fall.lost} / {fall.won}", f"{fall.p:.2g}"]
            )
        headers = [
            "dataset",
            "network",
            "source",
            "method",
            "seeds (training, calibration)",
            "T",
            "accuracy (%)",
        ]
        headers += ["images lost / won", "adjusted p"]
        text.append(f"{len(lines)} of these pairs fall significantly (adjusted p < {ALPHA}):\n")
        text.append(tabulate(lines, headers, tablefmt="github", disable_numparse=True) + "\n")
    else:
        smallest = f" ({len(falls)} fall; smallest adjusted p = {falls[0].p:.2g})" if falls else " (none falls)"
        text.append(f"None of the {len(pairs)} adjacent-T pairs falls significantly{smallest}.\n")
    return "\n".join(text)


# -------------------------------------------------------------------------------------------------------------- CSV


def csv_text(records: list[dict]) -> str:
    """The text of leaderboard.csv: one line for each row and T; shares from 0 to 1, empty where there is no number."""
    lines = []
    for section in sections(records):
        for row in section.rows:
            lines += [_csv_line(row, T) for T in row.T]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else ["dataset"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _csv_line(row: Row, T: int) -> dict:
    job, accuracy = row.job, require(row.accuracy(T))
    line = {name: getattr(job, name) for name in ("dataset", "data_hash", "network", "activation", "recipe", "method")}
    line |= {"official": row.official, "method_version": job.method_version}
    line |= {"options": " ".join(f"{k}={v}" for k, v in sorted(job.options.items()))}
    line |= {name: getattr(job, name) for name in ("calibration", "calibration_transform", "readout", "precision")}
    line |= {"T": T, "n": accuracy.n, "n_test": row.n_test}
    numbers: dict = {"sampling_error": row.sampling_error(T)}
    for name, cell in {
        "ann": row.ann,
        "accuracy": accuracy,
        "validation": row.accuracy(T, "validation"),
        "loss": row.loss(T),
        "distance": row.distance(T),
    }.items():
        numbers |= {f"{name}_mean": cell and cell.mean, f"{name}_std": cell and cell.std}
    for name in ("spikes", "operations"):
        numbers[f"{name}_per_image"] = require(row.per_image(T, name)).mean
    numbers["ann_macs_per_image"] = sum(row.records[0]["network"]["macs"].values())
    line |= {name: "" if x is None else f"{float(x):.6f}" for name, x in numbers.items()}
    return line | {"smallest_T": row.smallest_T or ""}
