"""Every method on the same source networks, steps and simulator: `results/METHODS.md`.

The page is a function of the records and the published numbers. It starts with findings: what one factor changes, all
others equal, measured on the same test images.
"""

import inspect

from tabulate import tabulate

from ann2snn.experiments.presets import TRAINED_ACTIVATIONS, VARIANTS
from ann2snn.leaderboard.figures.methods import curves
from ann2snn.leaderboard.inputs import PageInputs
from ann2snn.leaderboard.pages.findings import (
    FINDINGS,
    chosen_on_test,
    findings,
    on_every_source,
    other_calibrations,
    quantisers,
)
from ann2snn.leaderboard.pages.leaderboard import figure_name
from ann2snn.leaderboard.pages.method_tables import ALPHA, table_text, tables
from ann2snn.leaderboard.rows import REF_T, sections
from ann2snn.methods.registry import discover

NAME = "METHODS.md"

HEAD = """\
# Every method on the same networks

<!-- Generated from records/ and published.csv by `ann2snn leaderboard`. Do not edit. -->

One simulator, one protocol, the same source weights, calibration images and test images for every method: binary
spikes, constant input current, accumulated read-out, every simulated step counted in T. Soft reset where nothing
else is said; hard reset is in [LEADERBOARD.md](LEADERBOARD.md), and so is every other number of these records. What
each method is, with its equations, its source and every known difference from it: the docstrings in
[baselines/](../baselines). `ann2snn compare A B` prints any two records image by image; `./reproduce.sh --profile
matrix` makes them all.
"""

TABLES = f"""\
## The tables

Rows are ordered by accuracy at T = {REF_T}. **T within 1 point** is chosen on validation, its test accuracy in brackets
(`-`: public weights, which have seen the validation images). **Latency** is how many steps pass at T = {REF_T} until
the output is known: more than T where neurons wait for their train or a part of it. **Calibration** is the images given
and the seconds that the conversion for T = {REF_T} took from an unseen source, on one busy CPU core or on a GPU that
several runs shared: an order of magnitude, not a benchmark; without seconds: they were not recorded. **Operations /
MACs** are the additions of the spiking network up to T = {REF_T} for each multiply-accumulate of the same layers in the
ANN; the first layer, which reads the image and no spikes, is in neither. Methods that draw are here with the draws of
seed 0; the others are under *Other calibrations*. **Against `optimal`** is the paired difference at T = {REF_T}:
of one source with its 95 % interval (unadjusted, from drawing the test images), of several training seeds one number
each. They are tested one by one and never pooled: *better* and *worse* mean that the exact McNemar test has p <
{ALPHA} after Holm's correction over the methods of the table, and in how many of them. One image in 360 is 0.28
points: rows that close are in no order. `n/a`: a T at or below the method's warm-up, in which nothing is read. Rows
of fewer sources than the first line of a table says (**n**) do not compare with the others.

Where a source was trained with a fixed threshold that most layers reach, the largest activation of a layer, of a
channel and the usual percentiles all are that threshold: methods that differ in these only have equal rows there.
`spike_norm` and `rmp` are for ReLU networks: they know no clip, so from a source with clipped activations they converge
to the network without the clips, and no T brings them to its ANN.
"""


def method_list() -> str:
    """What every method is in a sentence, and what was read of it: from its docstring."""
    lines = []
    for name in dict.fromkeys(method for method, _ in VARIANTS):
        text = inspect.cleandoc(discover()[name].function.__doc__ or "")
        first = " ".join(text.partition("\n\n")[0].split()).partition(": ")[0].rstrip(".:")
        read = " ".join(text.rpartition("Read:")[2].split()).rstrip(".")
        known = discover()[name]
        lines.append([f"`{name}`", known.paper, known.source_activation, first.replace("|", "\\|"), read])
    heads = ["method", "paper", "its sources", "in a sentence", "read"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


LEFT_OUT = {
    "TSC (Han & Roy, ECCV 2020)": "codes a value in the time between two spikes; its rules were not to be read",
    "AdaFire (AAAI 2025)": "several spikes a step: not binary",
    "burst spikes (IJCAI 2022)": "several spikes a step: not binary",
    "SNM (Wang 2022)": "signed spikes: not binary",
    "DCGS (ICML 2025), H-MT (AAAI 2026), GN (2024)": "graded spikes, or several neurons for one: not binary",
    "RNL (Ding 2021)": "its second training stage, of shared thresholds with a loss of its own, is not expressed here",
    "SNN calibration's weight calibration": "an option of `snnc_ap` (`iterations=5000`), not run",
    "PASCAL (TMLR 2025)": "inhibitory counts between the steps, and levels of each layer's own",
}


def page(known: PageInputs) -> str:
    """The text of results/METHODS.md."""
    records, found = known.records, tables(known.records)
    parts = [HEAD, "## What it says\n", FINDINGS, findings(found) + "\n"]
    parts += ["<details><summary>On every source</summary>\n", on_every_source(found), "\n</details>\n"]
    parts += ["## What picking by test accuracy is worth\n"]
    parts += ["FTBC's script keeps the update with the best *test* accuracy. Nothing here does; what it would add,"]
    parts += [
        f"at T = {REF_T}, over records that differ in the number of updates only:\n",
        chosen_on_test(found, records),
    ]
    parts += [
        "",
        "## Other calibrations\n",
        f"At T = {REF_T}: the budgets of the papers, and other calibration images with other draws.\n",
    ]
    parts += [other_calibrations(found, records), "", "## Quantiser and start\n"]
    parts += [
        f"Sources trained with QCFS of {TRAINED_ACTIVATIONS[0][-1]} steps, whose stairs are floored, rounded or ceiled:"
    ]
    parts += [
        "at as many steps of constant current a neuron that starts at 0, V/2 or V has the same stairs. (A network"
    ]
    parts += ["keeps that only in part: its currents are not constant.)\n"]
    pictures = [
        f"![Every method, {section.dataset}, {section.network}](figures/methods-{figure_name(section)}.svg)\n"
        for section in sections(records)
        if curves(section)
    ]
    parts += [quantisers(records), "", TABLES, *pictures, *(table_text(table, known.published) for table in found)]
    parts += [
        "## The methods\n",
        method_list(),
        "\n## Left out\n",
        *(f"- {name}: {why}." for name, why in LEFT_OUT.items()),
    ]
    return "\n".join(parts) + "\n"


def wanted(known: PageInputs) -> bool:
    """Where no source has all methods there is no page."""
    return bool(tables(known.records))
