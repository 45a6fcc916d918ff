"""The figure of the README: accuracy over T of six methods on the CIFAR-10 ResNet-20 with public weights."""

from ann2snn.leaderboard.figures.style import COLOURS, DASHED, GREY, steps_axis
from ann2snn.leaderboard.rows import Section, require

DRAWING = 1  # raised when the drawing below changes: every figure is stale then
DATASET, NETWORK, ACTIVATION = "cifar10", "cifar_resnet20", "relu"
METHODS = ("optimal", "max_norm", "robust_norm", "ltb", "snnc_lp", "ftbc")  # all have T = 128 on this source
MARKERS = "os^Dv*"
LABELS = {  # (T, accuracy) of the text, where no curve is near, and its horizontal alignment
    "optimal": (16.5, 46.5, "right"),
    "max_norm": (34.5, 29.5, "left"),
    "robust_norm": (8, 2.5, "center"),
    "ltb": (8.7, 39, "left"),
    "snnc_lp": (4.3, 44.5, "left"),
    "ftbc": (3.6, 67, "right"),
}


def curves(section: Section) -> list[dict]:
    """What is drawn, in %: the rows of `METHODS` with default options; nothing for other networks."""
    if (section.dataset, section.network) != (DATASET, NETWORK):
        return []
    public = [
        row
        for row in section.first_draws
        if row.is_default_protocol
        and row.job.activation == ACTIVATION
        and all(record["job"]["seed"] is None for record in row.records)
    ]
    latest = {row.job.method: row for row in sorted(public, key=lambda row: row.job.method_version)
              if row.job.label in METHODS}  # fmt: skip
    return [
        {
            "method": name,
            "ann": round(float(100 * latest[name].ann.mean), 4),
            "T": {T: round(float(100 * require(latest[name].accuracy(T)).mean), 4) for T in latest[name].T},
        }
        for name in METHODS
        if name in latest
    ]


def draw(section: Section, drawn: list[dict]):
    """The figure: one curve a method, each with a label beside it, and the ANN as a dashed line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    ax = figure.subplots()
    for curve in drawn:
        i = METHODS.index(curve["method"])
        T, accuracies = list(curve["T"]), list(curve["T"].values())
        size = 11 if MARKERS[i] == "*" else 7.5
        ax.plot(T, accuracies, marker=MARKERS[i], color=COLOURS[i], linewidth=2.4, markersize=size)
        x, y, side = LABELS[curve["method"]]
        ax.text(x, y, curve["method"], color=COLOURS[i], fontsize=14, ha=side, va="center")
    ann = drawn[0]["ann"]
    ax.axhline(ann, color=GREY, linestyle=DASHED, linewidth=1.6)
    ax.text(1, ann + 1, f"ANN {ann:.1f} %", color=GREY, fontsize=14, va="bottom")
    steps_axis(ax, {T for curve in drawn for T in curve["T"]})
    ax.set_ylim(0, 100)
    ax.set_title("CIFAR-10, ResNet-20, ReLU, public weights", fontsize=14)
    ax.set_xlabel("T (time steps)", fontsize=13)
    ax.set_ylabel("test accuracy (%)", fontsize=13)
    ax.tick_params(labelsize=13)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
