"""Every method on the same source networks, steps and simulator: `results/METHODS.md`.

The page is a function of the records and the published numbers. It starts with findings: the effect of one factor with
all others equal, measured on the same test images.
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
spikes, constant input current, accumulated read-out, and every simulated step counted in T. The reset is soft unless a
row says otherwise; hard reset and all other numbers of these records are in [LEADERBOARD.md](LEADERBOARD.md). The
docstrings in [baselines/](../baselines) give the equations of every method, its paper and every known difference from
it. `ann2snn compare A B` compares any two records image by image. `./reproduce.sh --profile matrix` makes all of them.
"""

TABLES = f"""\
## The tables

Rows are ordered by accuracy at T = {REF_T}. **T within 1 point** is chosen on validation, with the test accuracy in
brackets (`-`: public weights, which were trained on the validation images). **Latency** is the number of steps at
T = {REF_T} until the output is known. It exceeds T if neurons accumulate all or part of their input before they fire.
**Calibration** is the number of images and the duration of the conversion for T = {REF_T}, without cached results, on
one core of a busy CPU or on a shared GPU: an order of magnitude and not a benchmark. Early records have no duration.
**Operations / MACs** is the number of additions of the spiking network up to T = {REF_T} per multiply-accumulate of the
same layers in the ANN. The first layer, which receives the image and not spikes, is not counted. Stochastic methods
are shown with seed 0; other seeds are under *Other calibrations*. **Against `optimal`** is the paired difference at
T = {REF_T}: for one source with its 95 % interval (unadjusted, due to the sampling of the test images), for several
training seeds one number each. Seeds are tested one by one and never pooled. *Better* and *worse* mean that the exact
McNemar test has p < {ALPHA} after Holm's correction over the methods of the table, and for how many seeds. One image
in 360 is 0.28 points: the order of rows that close means nothing. `n/a`: T is at or below the warm-up of the method,
which has no output. Rows with fewer sources (**n**) than the first line of a table says cannot be compared with the
others.

If a source was trained with a fixed threshold that most layers reach, the largest activations of layers and channels
and the usual percentiles all equal that threshold. Methods that differ only in these have equal rows there.
`spike_norm` and `rmp` are for ReLU networks. They do not model the clip, so from a source with clipped activations they
converge to the network without the clips, and never to its ANN.
"""


def method_list() -> str:
    """A table of the methods: summary and sources that were read, both from the docstrings."""
    lines = []
    for name in dict.fromkeys(method for method, _ in VARIANTS):
        text = inspect.cleandoc(discover()[name].function.__doc__ or "")
        first = " ".join(text.partition("\n\n")[0].split()).partition(": ")[0].rstrip(".:")
        read = " ".join(text.rpartition("Read:")[2].split()).rstrip(".")
        method = discover()[name]
        lines.append([f"`{name}`", method.paper, method.source_activation, first.replace("|", "\\|"), read])
    headers = ["method", "paper", "source activation", "summary", "read"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


LEFT_OUT = {
    "TSC (Han & Roy, ECCV 2020)": "codes a value in the time between two spikes; its rules could not be read",
    "AdaFire (AAAI 2025)": "several spikes per step: not binary",
    "burst spikes (IJCAI 2022)": "several spikes per step: not binary",
    "SNM (Wang 2022)": "signed spikes: not binary",
    "DCGS (ICML 2025), H-MT (AAAI 2026), GN (2024)": "graded spikes, or several neurons per unit: not binary",
    "RNL (Ding 2021)": "its second training stage, with shared thresholds and its own loss, is not implemented",
    "SNN calibration's weight calibration": "an option of `snnc_ap` (`iterations=5000`), not run",
    "PASCAL (TMLR 2025)": "inhibitory spike counts between steps, and a number of levels per layer",
}


def page(inputs: PageInputs) -> str:
    """The text of results/METHODS.md."""
    records, found = inputs.records, tables(inputs.records)
    parts = [HEAD, "## Findings\n", FINDINGS, findings(found) + "\n"]
    parts += ["<details><summary>On every source</summary>\n", on_every_source(found), "\n</details>\n"]
    parts += ["## The effect of selection by test accuracy\n"]
    parts += [
        "FTBC's script keeps the update with the best *test* accuracy. No record here is. The gain would be,",
        f"at T = {REF_T}, among records that differ only in the number of updates:\n",
        chosen_on_test(found, records),
        "",
        "## Other calibrations\n",
        f"At T = {REF_T}: the numbers of images of the papers, and other calibration images and seeds.\n",
        other_calibrations(found, records),
        "",
        "## Quantiser and start potential\n",
        f"Sources trained with QCFS of {TRAINED_ACTIVATIONS[0][-1]} levels, whose quantiser floors, rounds or ceils.",
        "With as many steps of constant current, a neuron that starts at 0, V/2 or V computes the same quantiser.",
        "(A network does so only in part, since its currents are not constant.)\n",
    ]
    pictures = [
        f"![Every method, {section.dataset}, {section.network}](figures/methods-{figure_name(section)}.svg)\n"
        for section in sections(records)
        if curves(section)
    ]
    parts += [quantisers(records), "", TABLES, *pictures, *(table_text(table, inputs.published) for table in found)]
    parts += [
        "## The methods\n",
        method_list(),
        "\n## Left out\n",
        *(f"- {name}: {why}." for name, why in LEFT_OUT.items()),
    ]
    return "\n".join(parts) + "\n"


def wanted(inputs: PageInputs) -> bool:
    """Whether a source has a table."""
    return bool(tables(inputs.records))
