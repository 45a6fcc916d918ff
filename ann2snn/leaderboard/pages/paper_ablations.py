"""Tables of `results/PAPER.md`: one ingredient or convention of the paper's method at a time."""

from ann2snn.experiments.presets import OPTIMAL, THRESHOLD_RELU
from ann2snn.leaderboard.format import points
from ann2snn.leaderboard.inputs import PageInputs
from ann2snn.leaderboard.pages.paper_cells import markdown, places, seed_0
from ann2snn.leaderboard.paired import paired
from ann2snn.leaderboard.rows import CODE, Row, snn

CONVENTIONS = {
    "readout": "spiking read-out",
    "residual_shift": "no shift after residual additions",
    "shifts": "shift applied twice",
    "shift_T": "read at T of one run with the shift of T = 32",
}


def ablation_table(inputs: PageInputs) -> str:
    """With and without threshold and shift, soft and hard reset. The paper's own numbers are not known."""
    lines, T = [], (1, 2, 4, 8, 16, 32, 64, 128, 256)
    for dataset, network, recipe in places(inputs):
        for method in ("optimal", "max_norm"):
            for row in inputs.rows(dataset=dataset, network=network, recipe=recipe, method=method):
                shift = "yes" if method == "optimal" else "no"
                cells = [points(row.accuracy(t) or "-") for t in T]
                source = [dataset, network, recipe, row.job.activation]
                lines.append([*source, shift, row.job.options["reset"], points(row.ann), *cells])
    headers = ["dataset", "network", "recipe", "source", "shift", "reset", "ANN", *(f"T = {t}" for t in T)]
    return markdown(sorted(lines, key=lambda line: line[:4]), headers, "The paper's own ablation could not be read.")


def threshold_table(inputs: PageInputs) -> str:
    """How y_th could be chosen: all numbers on validation."""
    lines, T = [], (4, 8, 16, 32)
    kind = {"dataset": "cifar10", "network": "cifar_resnet20", "recipe": "cifar"}
    rows = inputs.rows(method="optimal", options={"reset": "soft"}, **kind)
    for row in sorted(rows, key=lambda row: float(row.job.activation.partition(":")[2].partition(":")[0] or "inf")):
        clipped = row.job.activation.partition(":")[0] in ("relu", "threshold_relu")
        if clipped and (first := seed_0(row)):
            one = Row([first], {})
            cells = [points(one.accuracy(t, "validation") or "-") for t in T]
            lines.append([row.job.activation, points(one.ann_on_validation), *cells])
    headers = ["source", "ANN", *(f"T = {t}" for t in T)]
    note = (
        "Accuracy on the 5,000 validation images of CIFAR-10, He's ResNet-20, training seed 0, `optimal`, soft reset."
    )
    return markdown(lines, headers, note)


def convention_table(inputs: PageInputs) -> str:
    """What each convention of the released code costs, against `optimal` on the same weights."""
    lines, T = [], (8, 16, 32)
    wanted = {
        "dataset": "cifar10",
        "network": "cifar_resnet20",
        "recipe": "cifar",
        "activation": THRESHOLD_RELU["cifar10"],
    }
    plain = seed_0(inputs.row(*OPTIMAL, **wanted))
    variants = inputs.rows(method=CODE, **wanted)
    variants += inputs.rows(method="optimal", options={"reset": "soft"}, calibration_transform="crop_flip", **wanted)
    for row in variants:
        if plain and (record := seed_0(row)):
            both = plain["T"].keys() & record["T"].keys()
            differences = (paired(plain, record, t).interval if str(t) in both else "-" for t in T)
            lines.append([_convention(row), *differences])
    if plain and lines:
        shares = (snn(plain, t) for t in T)
        lines.insert(0, ["none: `optimal`", *("-" if x is None else f"{100 * float(x):.2f}" for x in shares)])
    headers = ["convention", *(f"T = {t}" for t in T)]
    note = (
        "Test accuracy of `optimal`, and the paired difference that a convention makes, with its 95 % interval"
        "\n(CIFAR-10, He's ResNet-20 with folded batch norm, threshold ReLU, training seed 0; all else equal)."
        "\nUntil May 2021 the released code added the shift to the bias of a layer and again at every step: twice if a"
        "\nlayer has a bias, as in its VGG-16 and CIFAR-Net, and once in its ResNet-20, which has none."
    )
    return markdown(lines, headers, note)


def _convention(row: Row) -> str:
    if row.job.calibration_transform != "none":
        return "calibrated on augmented images"
    usual = {"readout": "accumulated", "residual_shift": True, "shifts": 1, "shift_T": None}
    return ", ".join(CONVENTIONS[name] for name, value in usual.items() if row.job.options[name] != value) or "none"
