"""The energy of an inference beside its ANN's: `results/ENERGY.md`, a function of the records.

The counts are those of the records, and the picojoules those of `ann2snn.energy`.
"""

from dataclasses import dataclass
from fractions import Fraction

from tabulate import tabulate

from ann2snn.experiments.presets import CLASSIC_METHODS
from ann2snn.leaderboard.format import DAGGER, UNOFFICIAL, points
from ann2snn.leaderboard.inputs import PageInputs
from ann2snn.leaderboard.pages.method_tables import variant_index
from ann2snn.leaderboard.rows import REF_T, Estimate, Row, Section, sections
from ann2snn.metrics import energy
from ann2snn.metrics.energy import Hardware

NAME = "ENERGY.md"

HEAD = """\
# Energy per image

<!-- Generated from records/ by `ann2snn leaderboard`. Do not edit. -->

The energy of the spiking network relative to its ANN, for four kinds of arithmetic. Energies per operation are those of
Horowitz (ISSCC 2014: 45 nm, 0.9 V), counts those of the records. The equations, and what is not counted, are in
[ann2snn/metrics/energy.py](../ann2snn/metrics/energy.py). No chip was measured.

{models}

- A MAC is a multiply-accumulate of the ANN, without those on padding (the other tables include them, as is usual). An
  addition is one spike times one weight. An update is the other work of a neuron at every step: its constant current is
  added, and its potential is compared with V_th. Layers that receive the image are computed once, with the ANN's MACs.
- **Break-even**: with fewer additions per MAC the spiking network needs less energy, without updates and first layer.
- *float32*: how papers compare MACs and additions; we add the updates.
- *int8*: both networks with 8-bit weights and 32-bit sums, the ANN with 8-bit activations. The accuracy of neither was
  measured in this arithmetic. If T is small, an ANN with as few levels as T needs fewer than 8 bits.
- *memory*: weights, the ANN's activations and membrane potentials are in a memory of 8 kB. The ANN's sums stay in a
  register; potentials do so during a step (*held*), or are read and written by every addition. The weights of most
  networks here do not fit into 8 kB, and a larger memory brings both break-evens nearer to 1. An ANN that reuses an
  operand reads less.
"""

TABLE = f"""\
Soft reset, sources with ReLU or the dataset's threshold. A row has the smallest T within 1 point of the ANN on
*validation* (*near*), if there is one. The four classic methods, the paper's among them, are also shown at T = {REF_T},
as are all methods on imported weights, for which no T can be chosen; there the classic methods are shown at their
largest T too. A row that equals one above it in all predictions and counts is left out. Accuracies are on test; ± is
the standard deviation over n sources. Below 1 the spiking network needs less energy than its ANN. Waiting is free in
this model: METHODS.md has the latency of neurons that accumulate all input before they fire.
"""


@dataclass(frozen=True)
class Line:
    """A row of the leaderboard at one T."""

    section: Section
    row: Row
    T: int

    @property
    def near(self) -> bool:
        return self.row.smallest_T == self.T

    def cost(self, hardware: Hardware) -> Estimate:
        """Energy of the spiking network in units of the ANN's."""

        def of_one(record: dict) -> Fraction:
            counts = energy.of_record(record, self.T)
            return Fraction(counts.snn(hardware) / counts.ann(hardware))

        found = self.row.over_seeds(of_one)
        assert found
        return found

    @property
    def per_mac(self) -> Estimate | None:
        def of_one(record: dict) -> Fraction | None:
            share = energy.of_record(record, self.T).per_mac
            return None if share is None else Fraction(share)

        return self.row.over_seeds(of_one)


def rows(inputs: PageInputs) -> list[tuple[Section, Row]]:
    """Rows with soft reset on the default sources, with calibration seed 0; sorted by source, ReLU last."""
    found = []
    for section in sections(inputs.records):
        defaults = {row.job.row for row in section.default_rows if row.is_default_protocol}
        variants = [row for row in section.first_draws if row.job.row in defaults and variant_index(row) is not None]
        variants.sort(key=lambda row: (row.job.activation == "relu", section.source(row)))
        found += [(section, row) for row in variants]
    return found


def lines(found: list[tuple[Section, Row]]) -> list[Line]:
    """The rows at the T's of `moments`. Of rows with equal results the classic method is kept, or the first."""
    there, seen, kept = [Line(section, row, T) for section, row in found for T in moments(row)], set(), set()
    for line in sorted(there, key=lambda line: line.row.job.method not in CLASSIC_METHODS):
        cells = [(r["source"]["weights_hash"], r["T"][str(line.T)]) for r in line.row.records]
        same = line.T, str([(weights, at["test"]["predictions"], at["operations"]) for weights, at in cells])
        if same not in seen:
            kept.add((line.row.job.row, line.T))
        seen.add(same)
    return [line for line in there if (line.row.job.row, line.T) in kept]


def moments(row: Row) -> list[int]:
    """Numbers of steps that a row of the leaderboard is shown at, each if all of its sources have it.

    They are the smallest T within a point of the ANN; for the paper's method and the classic ones, and on imported
    weights, also 16; for classic methods on imported weights also the largest.
    """
    there = [T for T in row.T if all(str(T) in r["T"] for r in row.records)]
    imported, classic = row.ann_on_validation is None, row.job.method in CLASSIC_METHODS
    chosen = {row.smallest_T}
    if imported or classic:
        chosen.add(REF_T)
    if imported and classic and there:
        chosen.add(max(there))
    return [T for T in there if T in chosen]


def models() -> str:
    """A table of the energies of every hardware model."""
    cells = [[h.name, *(f"{x:g}" for x in (h.mac, h.addition, h.update)), f"{h.break_even:.3g}"]
             for h in energy.ALL]  # fmt: skip
    headers = ["arithmetic", "MAC, pJ", "addition, pJ", "update, pJ", "break-even, additions / MAC"]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)


def table(found: list[Line]) -> str:
    """The table of the page."""
    cells = []
    for line in found:
        row, T = line.row, line.T
        source = f"{line.section.source(row)}{'' if row.official else f' {DAGGER}'}"
        per_mac = "-" if line.per_mac is None else f"{float(line.per_mac.mean):.2f}"
        costs = (f"{float(line.cost(hardware).mean):.2f}" for hardware in energy.ALL)
        at = f"{T}, near" if line.near else str(T)
        cells.append([line.section.dataset, line.section.network, source, row.job.label, str(row.n),
                      points(row.ann, row.n), at, points(row.accuracy(T), row.n), per_mac, *costs])  # fmt: skip
    headers = ["data", "network", "source", "method", "n", "ANN", "T", "SNN", "additions / MAC"]
    return tabulate(cells, [*headers, *(h.name for h in energy.ALL)], tablefmt="github", disable_numparse=True)


def findings(found: list[tuple[Section, Row]]) -> str:
    """Per dataset: how many rows come within a point of the ANN, and how many of these need less energy."""
    text, own = [], [(section, row) for section, row in found if row.ann_on_validation]
    for dataset in dict.fromkeys(section.dataset for section, _ in own):
        here = [(section, row) for section, row in own if section.dataset == dataset]
        near = [Line(section, row, T) for section, row in here if (T := row.smallest_T)]
        less = (f"{sum(line.cost(h).mean < 1 for line in near)} in {h.name}" for h in energy.ALL)
        costs = f", and of these need less energy than their ANN: {'; '.join(less)}" if near else ""
        ran = " or ".join(map(str, sorted({max(row.T) for _, row in here})))
        text.append(
            f"- **{dataset}**: {len(near)} of {len(here)} rows of own sources are within 1 point on validation at a"
            f" simulated T (up to {ran}){costs}."
        )
    return "\n".join(text)


def page(inputs: PageInputs) -> str:
    """The text of results/ENERGY.md."""
    every = rows(inputs)
    found = lines(every)
    has_unofficial = any(not line.row.official for line in found)
    note = [f"\n{DAGGER} {UNOFFICIAL}"] if has_unofficial else []
    return "\n".join([HEAD.format(models=models()), findings(every), "", TABLE, table(found), *note]) + "\n"


def wanted(inputs: PageInputs) -> bool:
    """Whether there are rows for the page."""
    return bool(lines(rows(inputs)))
