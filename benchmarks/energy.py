"""What an inference costs in energy, beside its ANN's: `results/ENERGY.md`, a function of the records.

The counts are those of the records, and the picojoules those of `ann2snn.energy`.
"""

from fractions import Fraction

from tabulate import tabulate

from ann2snn import energy
from ann2snn.benchmarks.paper import Known  # type: ignore
from ann2snn.energy import Hardware
from ann2snn.leaderboard.methods import label
from ann2snn.leaderboard.rows import Row, sections
from ann2snn.leaderboard.tables import points
from ann2snn.records import recipe_name

NAME, AT = "ENERGY.md", 16

HEAD = """\
# What an image costs

<!-- Generated from records/ by `ann2snn leaderboard`. Do not edit. -->

The energy of the spiking network in units of its ANN's, on three kinds of arithmetic. Picojoules are those of Horowitz
(ISSCC 2014: 45 nm, 0.9 V), counts those of the records; the equations are in
[ann2snn/energy.py](../ann2snn/energy.py).

{models}

- A MAC is a multiply-accumulate of the ANN. An addition is one spike that meets one weight; an update is what every
  neuron does at every step besides: its constant current is added, and its potential compared with V_th.
- The layers that read the image are computed once and held, with the ANN's MACs.
- *float32* is how papers count. *int8* is the rival that a spiking network has in practice: the same ANN with weights
  and activations of 8 bits, taken to lose no accuracy (not measured here). *8 kB memory*: a MAC reads a weight
  and an activation, and its sum stays in a register; an addition reads a weight, and reads and writes a potential of 32
  bits. Hardware that computes where its potentials are stored pays less; how much, no count can say.
- **Break-even**: so many additions for each MAC cost as much as the ANN, all else left out.
- Not counted: control, the routing of spikes, leakage, and the zeros that hardware for the ANN could skip as well.
"""

TABLE = f"""\
Soft reset, sources with ReLU or the dataset's threshold, the paper's method and its classic rivals. A row has T = {AT},
and the smallest T whose *validation* accuracy is within 1 point of the ANN's, where there is one (imported weights have
no validation). Accuracies are on test; ± is the standard deviation over n sources. Below 1 the spiking network costs
less than its ANN.
"""


def models() -> str:
    lines = [[h.name, *(f"{float(x):g}" for x in (h.mac, h.addition, h.update)), f"{float(h.break_even):.3g}"]
             for h in energy.ALL]  # fmt: skip
    heads = ["arithmetic", "MAC, pJ", "addition, pJ", "update, pJ", "break-even, additions / MAC"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def ratio(row: Row, T: int, hardware: Hardware) -> Fraction | None:
    """Energy of the spiking network in units of the ANN's, in the mean over the sources."""

    def of_one(record: dict) -> Fraction | None:
        counts = energy.of_record(record, T) if str(T) in record["T"] else None
        return counts and counts.snn(hardware) / counts.ann(hardware)

    found = row.over_seeds(of_one)
    return found and found.mean


def rows(known: Known) -> list[Row]:
    """Soft reset on the usual sources, ReLU last, as in the README."""
    found = []
    for section in sections(known.records):
        soft = (row for row in section.main if row.job.options.get("reset", "soft") == "soft")
        found += sorted(soft, key=lambda row: (row.job.activation == "relu", section.source(row)))
    return found


def moments(row: Row) -> list[int]:
    """The T's of a row: 16, and the smallest within a point of the ANN."""
    return sorted({T for T in (AT, row.smallest_T) if T and row.accuracy(T)})


def table(known: Known) -> str:
    lines = []
    for row in rows(known):
        for T in moments(row):
            price = row.per_mac(T)
            lines.append([
                row.job.dataset, row.job.network, f"{row.job.activation}, {recipe_name(row.job.recipe)}", label(row),
                points(row.ann), f"{T}{', within 1 point' if T == row.smallest_T else ''}", points(row.accuracy(T)),
                "-" if price is None else f"{float(price):.2f}",
                *(f"{float(value):.2f}" if (value := ratio(row, T, h)) is not None else "-" for h in energy.ALL),
            ])  # fmt: skip
    heads = ["data", "network", "source", "method", "ANN", "T", "SNN", "additions / MAC", *(h.name for h in energy.ALL)]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def finding(known: Known) -> str:
    """How many of the rows that come within a point of their ANN cost less than it, there."""
    near = [(row, row.smallest_T) for row in rows(known) if row.smallest_T]
    if not near:
        return "No row here comes within a point of its ANN."
    less = {h.name: sum((ratio(row, T, h) or 0) < 1 for row, T in near) for h in energy.ALL}
    counts = ", ".join(f"{count} in {name}" for name, count in less.items())
    return f"**Of {len(near)} rows that come within a point of their ANN, cheaper than it are there: {counts}.**"


def page(known: Known) -> str:
    return "\n".join([HEAD.format(models=models()), finding(known), "", TABLE, table(known)]) + "\n"


def wanted(known: Known) -> bool:
    return any(moments(row) for row in rows(known))
