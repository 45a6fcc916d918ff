"""Two records on the same test images, compared image by image."""

from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np
from tabulate import tabulate

from ann2snn.errors import UserError
from ann2snn.metrics.significance import mcnemar_exact
from ann2snn.records.job import Job
from ann2snn.records.packing import unpack


@dataclass(frozen=True)
class Paired:
    """At one T: shares from 0 to 1; `lost` images only the first has right, `won` only the second."""

    T: int
    first: float
    second: float
    lost: int
    won: int
    p: float  # exact McNemar, two-sided
    images: int
    agree: int  # images that both put into the same class

    @property
    def difference(self) -> float:
        """The second's accuracy less the first's."""
        return (self.won - self.lost) / self.images

    @property
    def margin(self) -> float:
        """Half the 95 % interval of the difference, from drawing the images: 1.96 standard errors of paired shares."""
        spread = self.lost + self.won - (self.won - self.lost) ** 2 / self.images
        return 1.96 * sqrt(max(spread, 0)) / self.images

    @property
    def interval(self) -> str:
        """`+0.52 ± 0.31`, in points; where no image differs there is nothing to estimate an error from."""
        if not self.lost + self.won:
            return "0 (no image differs)"
        return f"{100 * self.difference:+.2f} ± {100 * self.margin:.2f}"


def paired(first: dict, second: dict, T: int) -> Paired:
    """Two records at one T. UserError where they have not seen the same test images, or have not both this T."""
    labels, others = (unpack(record["labels"]) for record in (first, second))
    if first["job"]["data_hash"] != second["job"]["data_hash"] or not np.array_equal(labels, others):
        raise UserError("The two records are not of the same test images: they cannot be compared image by image.")
    for record in (first, second):
        if str(T) not in record["T"]:
            raise UserError(f"{title(record)} has no T = {T}; it has {', '.join(record['T'])}.")
    ours, theirs = (unpack(record["T"][str(T)]["test"]["predictions"]) for record in (first, second))
    right = [(found == labels).tolist() for found in (ours, theirs)]
    n = len(labels)
    (first_share, second_share), (lost, won, p) = (sum(side) / n for side in right), mcnemar_exact(*right)
    return Paired(T, first_share, second_share, lost, won, p, n, int((ours == theirs).sum()))


def at_every_T(first: dict, second: dict) -> list[Paired]:
    """The comparison at every T that both records have. UserError where there is none."""
    common = sorted({int(T) for T in first["T"]} & {int(T) for T in second["T"]})
    if not common:
        raise UserError(f"{title(first)} and {title(second)} have no T in common.")
    return [paired(first, second, T) for T in common]


def as_dict(first: dict, second: dict) -> dict:
    """The same for JSON: shares from 0 to 1, `margin` is half the 95 % interval of `difference`."""
    found = [asdict(x) | {"difference": x.difference, "margin": x.margin} for x in at_every_T(first, second)]
    return {"first": title(first), "second": title(second), "T": found}


def report(first: dict, second: dict) -> str:
    """The comparison at every T that both have, as text."""
    lines, found = [], at_every_T(first, second)
    for x in found:
        accuracies = (f"{100 * share:.2f}" for share in (x.first, x.second))
        agree = f"{100 * x.agree / x.images:.1f}"
        lines.append([x.T, *accuracies, x.interval, f"{x.lost} / {x.won}", f"{x.p:.2g}" if x.p else "< 1e-300", agree])
    headers = ["T", "A", "B", "B - A, 95 %", "lost / won", "p", "agree %"]
    text = [f"A: {title(first)}", f"B: {title(second)}", ""]
    text += [tabulate(lines, headers, disable_numparse=True), ""]
    text += [f"{found[0].images:,} test images, accuracies in %. lost: only A is right; won: only B. p: exact McNemar,"]
    text += ["two-sided, one test per line, not adjusted; the interval is due to the sampling of the images."]
    if first["job"]["seed"] != second["job"]["seed"] or len({r["source"]["weights_hash"] for r in (first, second)}) > 1:
        text += ["The two have different weights, so the difference includes that of their ANNs,"]
        text += [f"which have {' and '.join(f'{100 * ann_share(r):.2f}' for r in (first, second))} %."]
    return "\n".join(text)


def title(record: dict) -> str:
    """`cifar10 cifar_resnet20 relu imported: optimal reset=hard`."""
    job = Job(**record["job"])
    source = "imported" if job.seed is None else f"seed {job.seed}"
    return f"{job.dataset} {job.network} {job.activation} {source}: {job.label}"


def ann_share(record: dict) -> float:
    """Accuracy of the ANN on the test images, as a fraction."""
    return record["ann"]["test"]["correct"] / record["ann"]["test"]["n"]
