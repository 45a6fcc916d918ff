"""Tables of `results/PAPER.md` from the diagnoses: errors of layers, and what makes a source convertible."""

from collections.abc import Iterator
from itertools import product

from ann2snn.leaderboard.inputs import PageInputs, recipe_of
from ann2snn.leaderboard.pages.paper_cells import markdown

KINDS = ("spiking", "evenly")
LAYERS = """\
a is the ANN's activation, and a' the mean output of its neurons over T steps. In the columns *E(a' - a)^2* and *ratio*
the input of the layer is the ANN's own, constant over time. *Ratio with spiking input*: the layers before it spike too.
Both ratios are relative to V^2 / (12 T^2), the rounding error that the paper's shift leaves if pre-activations are
uniformly distributed. Units that are silent in both networks have no error, so the ratio can be below 1. The numbers of
images are in diagnosis/.
"""


def layer_table(inputs: PageInputs) -> str:
    """The error of every layer with the ANN's input, beside the paper's expectation."""
    parts = []
    for found in inputs.diagnoses:
        T = next((t for t in ("16", "8", "32", "4") if t in found["T"]), None)
        if T:
            lines = [
                [x["name"], f"{x['rounding']:.2e}", f"{x['bound']:.2e}", f"{x['rounding'] / x['bound']:.2f}",
                 f"{x['total'] / x['bound']:.1f}"] for x in found["T"][T]["layers"]
            ]  # fmt: skip
            headers = ["layer", "E(a' - a)^2", "V^2 / (12 T^2)", "ratio", "ratio with spiking input"]
            parts.append(f"{_name(found)}, T = {T}\n\n{markdown(lines, headers)}")
    return "\n".join([*parts, LAYERS]) if parts else markdown([], [])


def convertible_table(inputs: PageInputs) -> str:
    """Statistics of the layers of every source, and its accuracies."""
    lines = []
    grid = [str(t) for t in sorted({int(t) for d in inputs.diagnoses for t in d["T"]})]
    for found in inputs.diagnoses:
        layers = found["T"][max(found["T"], key=int)]["layers"]
        cells = [_range(layers, "spread"), _range(layers, "current")]
        cells += [_range(layers, "saturated", 100, "%"), _range(layers, "silent", 100, "%")]
        at = [found["T"].get(t) for t in grid]
        both = (f"{100 * x['spiking']:.1f} / {100 * x['evenly']:.1f}" if x else "-" for x in at)
        lines.append([_name(found), f"{100 * found['ann']:.1f}", *both, *cells])
    headers = ["source", "ANN", *(f"T = {t}: spiking / evenly timed" for t in grid)]
    headers += ["spread of z / V", "spread of the current / V", "saturated", "silent"]
    note = (
        f"`optimal`, soft reset. Accuracies are on the first {_sizes(inputs, 'images')} test images, the rest on the"
        f" first {_sizes(inputs, 'inside')}.\n*Evenly timed*: every layer receives the mean of its input at every step,"
        " which leaves only clipping and rounding errors.\nz is the ANN's pre-activation. A spread is a standard"
        " deviation; that of the current is over time, for one unit. Silent"
        "\nunits never spike, saturated units spike at every step. Triples are the first layer, the median of all"
        "\nlayers and the last layer, at the largest T."
    )
    words = "\n".join(f"- {sentence}" for sentence in summary_sentences(inputs.diagnoses, grid))
    return markdown(lines, headers, note + "\n\n" + words if lines else "")


def summary_sentences(diagnoses: list[dict], grid: list[str]) -> Iterator[str]:
    """Sentences about the table: over all sources, and for a network beside the same one with batch norm."""
    for t in grid:
        found = [
            (points_lost(d, "evenly", t), points_lost(d, "spiking", t), _name(d)) for d in diagnoses if t in d["T"]
        ]
        even, spiking = (sorted(losses) for losses in list(zip(*found, strict=True))[:2])
        *_, name = min(found, key=lambda losses: losses[1])
        yield (
            f"At T = {t} ({len(found)} sources) rounding and clipping alone cost {even[0]:.1f} to {even[-1]:.1f}"
            f" points; with the timing of spikes it is {spiking[0]:.1f} to {spiking[-1]:.1f} (least: {name})."
        )
    for folded, plain in product(diagnoses, repeat=2):
        ours, theirs = ([d["source"][k] for k in ("dataset", "network", "activation")] for d in (plain, folded))
        both = sorted(folded["T"].keys() & plain["T"].keys(), key=int)
        if both and theirs == [ours[0], f"{ours[1]}_bn", ours[2]]:
            parts = (
                " / ".join(f"{points_lost(d, kind, t):.1f}" for t in both) for d in (plain, folded) for kind in KINDS
            )
            text = (
                "**{} loses {} points (evenly timed {}), the same network with folded batch norm {} ({})**, at T = {}."
            )
            yield text.format(_name(plain), *parts, " / ".join(both))


def points_lost(found: dict, kind: str, t: str) -> float:
    """Points that a diagnosed source loses at T = t."""
    return 100 * (found["ann"] - found["T"][t][kind])


def _sizes(inputs: PageInputs, name: str) -> str:
    return " or ".join(f"{size:,}" for size in sorted({found[name] for found in inputs.diagnoses}))


def _range(layers: list[dict], name: str, scale: float = 1, unit: str = "") -> str:
    values = [scale * x[name] for x in layers]
    first, middle, last = values[0], sorted(values)[len(values) // 2], values[-1]
    digits = 0 if unit else 2
    return ", ".join(f"{v:.{digits}f}" for v in (first, middle, last)) + unit


def _name(found: dict) -> str:
    source = found["source"]
    return f"{source['dataset']} {source['network']} {source['activation']} ({recipe_of(source['recipe'])})"
