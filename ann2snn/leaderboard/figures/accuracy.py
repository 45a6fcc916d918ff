"""Accuracy over T, one figure for each dataset and network."""

from collections import defaultdict

from ann2snn.leaderboard.figures.style import DASHED, GREY, colours_of, steps_axis
from ann2snn.leaderboard.rows import Estimate, Section, require

DRAWING = 4  # raised when the drawing below changes: every figure is stale then
STYLES = {"soft": ("-", "o"), "hard": (":", "s")}


def curves(section: Section) -> list[dict]:
    """The curves of a section, in %."""

    def percent(cell: Estimate) -> list:
        return [round(float(100 * cell.mean), 4), round(100 * cell.std, 4) if cell.std is not None else None]

    found = []
    for row in sorted(section.summary_rows, key=lambda row: row.job.row):
        found.append({
            "source": section.source(row),
            "method": section.method(row, without="reset"),
            "reset": row.job.options.get("reset", ""),
            "n": row.n,
            "ann": percent(row.ann),
            "T": {T: percent(require(row.accuracy(T))) for T in row.T},
        })  # fmt: skip
    return found


def draw(section: Section, drawn: list[dict]):
    """The figure: a column for each source, whole above, near the ANN below.

    A colour for each method, a line style for each reset; bands are the standard deviation over sources.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = defaultdict(list)
    for curve in drawn:
        columns[curve["source"]].append(curve)
    methods = sorted({curve["method"] for curve in drawn})
    colours = colours_of(methods)
    widths = {name: 2.6 - 1.6 * i / len(methods) for i, name in enumerate(methods)}  # of equal curves all are seen
    anns = [curve["ann"][0] for curve in drawn]
    reached = [mean for curve in drawn for mean, _ in curve["T"].values()]
    close, best = min(anns) - 8, max(anns + reached)
    heights = (3, 2) if max(reached) > close else (3,)  # nothing to see near the ANN where none comes near

    figure = Figure(figsize=(4 * len(columns) + 1.8, 0.6 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), len(columns), sharex=True, sharey="row", squeeze=False, height_ratios=heights)
    for rows, (source, column) in zip(axes.T, columns.items(), strict=True):
        for ax in rows:
            for curve in column:
                _curve(ax, curve, colours[curve["method"]], widths[curve["method"]])
            ax.grid(alpha=0.25, linewidth=0.6)
            ax.spines[["top", "right"]].set_visible(False)
        if len(rows) > 1 and max(mean for curve in column for mean, _ in curve["T"].values()) <= close:
            rows[1].remove()  # no curve comes near the ANN
            rows = rows[:1]
            rows[0].tick_params(labelbottom=True)
        steps_axis(rows[-1], {T for curve in drawn for T in curve["T"]})
        rows[-1].set_xlabel("T (time steps)")
        rows[0].set_title(f"{source}, n = {max(curve['n'] for curve in column)}", fontsize=10)
    axes[0, 0].set_ylabel("test accuracy (%)")
    if len(heights) > 1:
        axes[1, 0].set_ylim(close, min(best + 1, 100.3))
        axes[1, 0].set_ylabel("near the ANN (%)")
    figure.suptitle(f"{section.dataset}, {section.network}", fontsize=11)
    keys = [Line2D([], [], color=colour, linewidth=3, label=name) for name, colour in colours.items()]
    for reset in sorted({curve["reset"] for curve in drawn}, reverse=True):
        line, marker = STYLES.get(reset, ("-.", "^"))
        look = {"linestyle": line, "marker": marker, "markersize": 3.5}
        keys.append(Line2D([], [], color=GREY, label=f"{reset or 'no'} reset", **look))
    keys.append(Line2D([], [], color=GREY, linestyle=DASHED, linewidth=1, label="ANN"))
    figure.legend(handles=keys, loc="outside right center", frameon=False)
    return figure


def _curve(ax, curve: dict, colour: str, width: float) -> None:
    T, (means, stds) = list(curve["T"]), zip(*curve["T"].values(), strict=True)
    line, marker = STYLES.get(curve["reset"], ("-.", "^"))
    ax.plot(T, means, line, marker=marker, color=colour, markersize=2 + width, linewidth=width)
    low, high = ([m + sign * (std or 0) for m, std in zip(means, stds, strict=True)] for sign in (-1, 1))
    ax.fill_between(T, low, high, color=colour, alpha=0.12, linewidth=0)
    ax.axhline(curve["ann"][0], color=GREY, linestyle=DASHED, linewidth=1)
