"""All methods over T: a figure per dataset and network with methods besides the classic ones.

The reference is accumulate-then-fire on the largest activations. It equals the quantised network unit by unit, which
`optimal` would be if spikes arrived evenly in time.
"""

from collections import Counter, defaultdict

from ann2snn.experiments.presets import CLASSIC_METHODS
from ann2snn.leaderboard.figures.style import COLOURS, DASHED, GREY, steps_axis
from ann2snn.leaderboard.rows import REF_T, Row, Section, require

DRAWING = 8  # raised when the drawing below changes: every figure is stale then
NAMED, LONGEST = 5, 32
OTHERS = COLOURS[1:6]
BOTTOM = 3  # layer (zorder) of the widest named curve
MARKERS, CLOSED_FORM = "os^D", "closed form (accumulate, then fire)"
REFERENCE = ("accumulate_then_fire", {"per_channel": False})


def curves(section: Section) -> list[dict]:
    """The curves, best at T = 16 first, in %; none without other methods than the classic ones."""
    rows = [row for row in section.first_draws if row.is_default_protocol and row.accuracy(REF_T)]
    rows = [row for row in rows if row.job.options.get("reset", "soft") == "soft"]
    kinds = defaultdict(set)
    for row in rows:
        kinds[section.source(row)].add(row.job.method)
    return [_curve(section, row) for row in rows if len(kinds[section.source(row)]) > len(CLASSIC_METHODS)]


def _curve(section: Section, row: Row) -> dict:
    method, options = REFERENCE
    same = all(row.job.options.get(name) == value for name, value in options.items())
    return {
        "source": section.source(row),
        "n": row.n,
        "method": row.job.label,
        "reference": row.job.method == method and same,
        "ann": round(float(100 * row.ann.mean), 4),
        "T": {T: round(float(100 * require(row.accuracy(T)).mean), 4) for T in row.T if T <= LONGEST},
    }


def draw(section: Section, drawn: list[dict]):
    """The figure: a panel for each source; its best are named, the others grey."""
    from matplotlib.figure import Figure

    panels = defaultdict(list)
    for curve in sorted(drawn, key=lambda curve: (not curve["source"].startswith("relu"), curve["source"])):
        panels[curve["source"]].append(curve)
    named = {source: best(panel) for source, panel in panels.items()}
    looks = looks_of(list(named.values()))
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.2 * rows + 1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for ax, (source, panel) in zip(axes, panels.items(), strict=False):
        _panel(ax, source, panel, {name: looks[name] for name in named[source]})
    for ax in axes[len(panels) :]:
        ax.remove()
    for ax in axes[::columns]:
        ax.set_ylabel("test accuracy (%)")
    title = f"{section.dataset}, {section.network}: every method, soft reset\n(named: the highest sums over T)"
    figure.suptitle(title, fontsize=11)
    keys = {name: line for ax in figure.axes for line, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    order = sorted(keys, key=lambda name: (name != "optimal", name != CLOSED_FORM, name))
    lines = [keys[name] for name in order]
    figure.legend(lines, order, loc="outside lower center", ncols=2 * columns, fontsize=8, frameon=False)
    return figure


def looks_of(panels: list[list[str]]) -> dict[str, dict]:
    """The line of every method, the same in all panels.

    No two methods have the same marker and colour. Methods of one panel have different widths, so that equal curves
    are all visible, and different colours where there are enough.
    """
    names = sorted({name for panel in panels for name in panel}, key=lambda n: (-sum(n in p for p in panels), n))
    looks: dict[str, dict] = {}
    for name in names:
        beside = [looks[other] for panel in panels if name in panel for other in panel if other in looks]
        taken = Counter(look["color"] for look in looks.values())
        colours = Counter(look["color"] for look in beside)
        colour = min(OTHERS, key=lambda c: (taken[c] >= len(MARKERS), colours[c], taken[c]))
        level = min(set(range(len(names))) - {look["zorder"] - BOTTOM for look in beside}, default=0)
        looks[name] = {"color": colour, "marker": MARKERS[taken[colour] % len(MARKERS)], "label": name}
        looks[name] |= {"linewidth": 4.2 - 0.7 * level, "markersize": 8 - level, "zorder": BOTTOM + level}
    return looks


def best(panel: list[dict]) -> list[str]:
    """The methods of a panel with the highest sums of accuracies over T; a warm-up counts as zero."""
    others = [curve for curve in panel if not curve["reference"] and curve["method"] != "optimal"]
    others.sort(key=lambda curve: -sum(curve["T"].values()))
    return [curve["method"] for curve in others[:NAMED]]


def _panel(ax, source: str, panel: list[dict], looks: dict[str, dict]) -> None:
    for curve in panel:
        T, accuracy, name = list(curve["T"]), list(curve["T"].values()), curve["method"]
        if curve["reference"]:
            look = {"color": "black", "linestyle": "--", "linewidth": 1.6, "zorder": 10, "label": CLOSED_FORM}
        elif name == "optimal":
            look = {"color": COLOURS[0], "linewidth": 2.6, "zorder": 2, "label": name}
        else:
            look = looks.get(name, {"color": "#bbbbbb", "linewidth": 0.8, "zorder": 1})
        ax.plot(T, accuracy, **look)
    ax.axhline(panel[0]["ann"], color=GREY, linestyle=DASHED, linewidth=1)
    steps_axis(ax, {T for curve in panel for T in curve["T"]})
    counts = sorted({curve["n"] for curve in panel})
    n = f"{counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")
    ax.set(title=f"{source}, n = {n}", xlabel="T (time steps)")
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
