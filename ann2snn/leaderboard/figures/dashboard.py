"""The panels of the W&B dashboard for one dataset and network, drawn here: accuracy, loss, operations and time."""

from fractions import Fraction

from ann2snn.leaderboard.figures.style import DASHED, GREY, colours_of, steps_axis
from ann2snn.leaderboard.rows import Estimate, Row, Section, require

DRAWING = 5  # raised when the drawing below changes: every figure is stale then
LINES = (("-", True), ("--", False), (":", True), ("-.", False))  # by source: line, filled marker


def curves(section: Section) -> list[dict]:
    """The curves: the rows with soft reset (all of them where none has it), in %, points and ms."""
    soft = [row for row in section.summary_rows if row.job.options.get("reset") == "soft"]
    return [_curve(section, row) for row in sorted(soft or section.summary_rows, key=lambda row: row.job.row)]


def _curve(section: Section, row: Row) -> dict:
    def values(of, scale) -> dict:
        return {T: _numbers(require(of(T)), scale) for T in row.T}

    macs = sum(row.records[0]["network"]["macs"].values())
    return {
        "source": section.source(row),
        "method": section.method(row, without="reset"),
        "reset": row.job.options.get("reset", ""),
        "ann": _numbers(row.ann, 100),
        "macs": macs,
        "accuracy": values(row.accuracy, 100),
        "loss": values(row.loss, 100),
        "operations": values(lambda T: row.per_image(T, "operations"), 1),
        "ms": values(lambda T: row.over_seeds(lambda r: _seconds(r, T)), 1000 / row.n_test),
        "gpu": any(record["provenance"]["device"] != "cpu" for record in row.records),
        "machines": sorted({_machine(record["provenance"]) for record in row.records}),
    }


def _seconds(record: dict, T: int) -> Fraction | None:
    return Fraction(record["T"][str(T)]["seconds"]) if str(T) in record["T"] else None


def _numbers(cell: Estimate, scale: float) -> list:
    """[mean, standard deviation over sources or None]"""
    return [float(f"{float(scale * cell.mean):.7g}"), None if cell.std is None else float(f"{scale * cell.std:.7g}")]


def _machine(place: dict) -> str:
    device = place["device"].removeprefix("cuda: ")
    return device if device != "cpu" else f"{place['cpu']}, {place['threads']} thread{'s' * (place['threads'] > 1)}"


def draw(section: Section, drawn: list[dict]):
    """The figure: four panels, a colour for each method and a line style for each source."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, LogLocator

    methods, sources = (sorted({curve[name] for curve in drawn}) for name in ("method", "source"))
    sources.sort(key=lambda name: name.startswith("relu"))
    colours = colours_of(methods)
    styles = {name: LINES[i % len(LINES)] for i, name in enumerate(sources)}
    widths = {name: 3 - 1.7 * (i + 1) / len(methods) for i, name in enumerate(methods)}  # of equal curves all are seen

    timed = [curve for curve in drawn if not curve["gpu"]] or drawn  # a GPU's beside a CPU's would be no comparison

    def plot(ax, what: str, against: str | None = None, band: bool = False) -> None:
        for curve in timed if what == "ms" else drawn:
            colour, (line, filled) = colours[curve["method"]], styles[curve["source"]]
            points = [
                (curve[against][T][0] if against else T, mean, std or 0)
                for T, (mean, std) in curve[what].items()
                if not against or curve[against][T][0] > 0
            ]
            if points:
                x, y, std = zip(*points, strict=True)
                width, face = widths[curve["method"]], colour if filled else "white"
                look = {"marker": "o", "markersize": 3 + width, "markerfacecolor": face, "linewidth": width}
                ax.plot(x, y, line, color=colour, **look)
                if band:
                    low, high = ([m + sign * s for m, s in zip(y, std, strict=True)] for sign in (-1, 1))
                    ax.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)

    figure = Figure(figsize=(9.6, 7.4), layout="constrained")
    (accuracy, loss), (operations, time) = figure.subplots(2, 2)

    plot(accuracy, "accuracy", band=True)
    accuracy.set(title="Accuracy over T", ylabel="test accuracy (%)")
    plot(loss, "loss")
    loss.set(title="Loss at T: ANN − SNN of the same weights", ylabel="points")
    loss.set_yscale("symlog", linthresh=1, linscale=0.8)
    loss.set_yticks([-1, 0, 1, 10, 100], ["−1", "0", "1", "10", "100"])
    loss.axhline(0, color=GREY, linestyle=DASHED, linewidth=1)
    loss.axhspan(-1, 1, color=GREY, alpha=0.07, linewidth=0)
    loss.text(0.99, -0.9, "within 1 point", color=GREY, ha="right", transform=loss.get_yaxis_transform())
    plot(operations, "accuracy", "operations")
    operations.set(title="Accuracy against operations", ylabel="test accuracy (%)", xscale="log")
    operations.set_xlabel("synaptic operations per image, without the first layer (★: all MACs of the ANN)")
    operations.xaxis.set_major_formatter(EngFormatter())  # the default one writes mathematics
    operations.set_xlim(left=1e-4 * max(curve["macs"] for curve in drawn))
    plot(time, "ms")
    time.set(title="Wall time over T (busy machines: no benchmark)", ylabel="ms per image", yscale="log")
    time.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    time.yaxis.set_major_formatter("{x:g}")

    for macs, ann in sorted({(curve["macs"], curve["ann"][0]) for curve in drawn}):
        for ax in (accuracy, operations):
            ax.axhline(ann, color=GREY, linestyle=DASHED, linewidth=0.8)
        operations.plot(macs, ann, "*", color="black", markeredgecolor="white", markersize=13, zorder=9)
    for ax in (accuracy, loss, time):
        steps_axis(ax, {T for curve in drawn for T in curve["accuracy"]})
        ax.set_xlabel("T (time steps)" if ax is not time else "T (time steps, simulated in blocks)")
    for ax in figure.axes:
        ax.title.set_fontsize(10)
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)

    resets = sorted({curve["reset"] for curve in drawn})
    machines = sorted({machine for curve in timed for machine in curve["machines"]})
    where = machines[0] if len(machines) == 1 else f"{len(machines)} machines"
    name = f"{section.dataset}, {section.network}"
    figure.suptitle(f"{name}: {' and '.join(reset or 'no' for reset in resets)} reset, times on {where}", fontsize=11)
    keys = [Line2D([], [], color=colour, linewidth=3, label=method) for method, colour in colours.items()]
    for source, (line, filled) in styles.items():
        face = GREY if filled else "white"
        look = {"linestyle": line, "marker": "o", "markersize": 4, "markerfacecolor": face}
        keys.append(Line2D([], [], color=GREY, label=f"source {source}", **look))
    keys.append(Line2D([], [], color=GREY, linestyle=DASHED, linewidth=1, label="ANN"))
    columns = 4 if max(len(method) for method in methods) < 30 else 3
    figure.legend(handles=keys, loc="outside lower center", ncols=columns, frameon=False)
    return figure
