"""What an inference costs in energy, beside its ANN's: `results/ENERGY.md`, a function of the records.

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
# What an image costs

<!-- Generated from records/ by `ann2snn leaderboard`. Do not edit. -->

The energy of the spiking network in units of its ANN's, on four kinds of arithmetic. Picojoules are those of Horowitz
(ISSCC 2014: 45 nm, 0.9 V), counts those of the records; the equations, and what is not counted, are in
[ann2snn/metrics/energy.py](../ann2snn/metrics/energy.py). This is no measurement of a chip.

{models}

- A MAC is a multiply-accumulate of the ANN, those that read padding left out (in the other tables, as is usual, they
  are in). An addition is one spike that meets one weight. An update is what every neuron does at every step besides:
  its constant current is added, and its potential compared with V_th. The layers that read the image are computed once
  and held, with the ANN's MACs.
- **Break-even**: with fewer additions for each MAC the spiking network costs less, updates and first layer aside.
- *float32*: papers compare MACs and additions like this; the updates are ours.
- *int8*: both networks with weights of 8 bits and sums of 32, the ANN with activations of 8 bits. That accuracy stays
  as it is was measured for neither. Where T is small, an ANN with as few levels as T needs fewer bits than 8.
- *memory*: weights, the ANN's activations and potentials lie in 8 kB. The ANN's sums stay in a register; potentials do
  so within a step (*held*), or are read and written by every addition. The weights of most networks here do not fit
  into 8 kB: dearer ones bring both break-evens nearer to 1. An ANN that uses an operand twice reads less.
"""

TABLE = f"""\
Soft reset, sources with ReLU or the dataset's threshold. A row has the smallest T within 1 point of the ANN on
*validation* (*near*), where there is one. The paper's method and its classic rivals have T = {REF_T} too, and so have
all on imported weights, of which no T can be chosen; there these four have their largest T too. A row that equals one
above it, image by image and in its counts, is left out. Accuracies are on test; ± is the standard deviation over n
sources. Below 1 the spiking network costs less than its ANN. Waiting costs nothing here: METHODS.md has the
latency of neurons that hear a whole train before they fire.
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
    """Soft reset on the usual sources, with the first draw of the calibration: a source after the other, ReLU last."""
    found = []
    for section in sections(inputs.records):
        defaults = {row.job.row for row in section.default_rows if row.is_default_protocol}
        variants = [row for row in section.first_draws if row.job.row in defaults and variant_index(row) is not None]
        variants.sort(key=lambda row: (row.job.activation == "relu", section.source(row)))
        found += [(section, row) for row in variants]
    return found


def lines(found: list[tuple[Section, Row]]) -> list[Line]:
    """The rows at the T's that are looked at. Of methods that are one here the classic one stays, or the first."""
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
    heads = ["arithmetic", "MAC, pJ", "addition, pJ", "update, pJ", "break-even, additions / MAC"]
    return tabulate(cells, heads, tablefmt="github", disable_numparse=True)


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
    heads = ["data", "network", "source", "method", "n", "ANN", "T", "SNN", "additions / MAC"]
    return tabulate(cells, [*heads, *(h.name for h in energy.ALL)], tablefmt="github", disable_numparse=True)


def findings(found: list[tuple[Section, Row]]) -> str:
    """By dataset, how many rows come near, and how many of these cost less than their ANN."""
    text, own = [], [(section, row) for section, row in found if row.ann_on_validation]
    for dataset in dict.fromkeys(section.dataset for section, _ in own):
        here = [(section, row) for section, row in own if section.dataset == dataset]
        near = [Line(section, row, T) for section, row in here if (T := row.smallest_T)]
        less = (f"{sum(line.cost(h).mean < 1 for line in near)} in {h.name}" for h in energy.ALL)
        costs = f", and of these cost less than their ANN: {'; '.join(less)}" if near else ""
        ran = " or ".join(map(str, sorted({max(row.T) for _, row in here})))
        text.append(
            f"- **{dataset}**: {len(near)} of {len(here)} rows of own sources are within 1 point on validation at a"
            f" T that ran (up to {ran}){costs}."
        )
    return "\n".join(text)


def page(inputs: PageInputs) -> str:
    """The text of results/ENERGY.md."""
    every = rows(inputs)
    found = lines(every)
    odd = any(not line.row.official for line in found)
    note = [f"\n{DAGGER} {UNOFFICIAL}"] if odd else []
    return "\n".join([HEAD.format(models=models()), findings(every), "", TABLE, table(found), *note]) + "\n"


def wanted(inputs: PageInputs) -> bool:
    """Whether there are rows for the page."""
    return bool(lines(rows(inputs)))
