"""The photographs table: agreement with the ANN of a network trained on ImageNet."""

import os
import re
from math import sqrt
from pathlib import Path

from tabulate import tabulate

from ann2snn.conform import ANY, conform
from ann2snn.errors import UserError
from ann2snn.reading import DamagedFile, leave_out, read_json

WEIGHTS = {
    "network": "mobilenet_v1_025",
    "activation": "threshold_relu:6",
    "url": "https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet_v1.md",
    "licence": "Apache-2.0",
    "file": "mobilenet_v1_0.25_128_imagenet.npz",
    "sha256": "339ae21aed0064f67c4e40c2503ba3c8bfef5aa74b3fa4901edf0187f6e597a1",
}
SIDE, LARGER = 128, 146  # the middle 7/8, as in the usual evaluation on ImageNet
FILE = "photographs.json"
SCHEMA = {
    "pictures": {"calibration": int, "measured": int},
    "ann": {"correct": int},
    "network": {"macs": int},
    "results": {ANY: {ANY: {}}},
}
LATER = {  # fields that resumed measurements need; evenly timed networks have no operations
    "weights": {},
    "provenance": {},
    "results": {ANY: {ANY: {"agree": int, "operations": float}}},
}


def load(path: Path) -> dict | None:
    """The record in a file, or None if there is none. A damaged file is named on stderr and counts as none."""
    if not os.path.lexists(path):
        return None
    try:
        record = read_json(path)
        try:
            conform(record, SCHEMA, "record", LATER)
            if not (record["pictures"]["measured"] and record["network"]["macs"]):
                raise ValueError("it has no pictures or no multiply-accumulates")
            if not all(re.fullmatch("[1-9][0-9]{0,4}", T) for found in record["results"].values() for T in found):
                raise ValueError("it has a T that is no number of steps")
        except ValueError as error:
            raise DamagedFile(path, f"is no record of photographs: {error}", "remove it") from None
        return record
    except UserError as error:
        leave_out(error)
        return None


def table(root: Path | str) -> str:
    """The measurement in `root` as Markdown of 80 columns; "Not run" if there is none."""
    path = Path(root) / FILE
    if (record := load(path)) is None:
        command = "`python -m ann2snn.benchmarks.studies.photographs --weights FILE.npz --images FOLDER`"
        return f"Not run: {command} runs it (`--help` says what both are).\n"
    n, calibration = record["pictures"]["measured"], record["pictures"]["calibration"]
    rows = {name: found for name, found in record["results"].items() if found}
    grid = sorted({int(t) for found in rows.values() for t in found})

    def lines(what: str, unit: float, digits: int) -> str:
        cells = [
            [name, *(f"{found[str(t)][what] / unit:.{digits}f}" if str(t) in found else "-" for t in grid)]
            for name, found in rows.items()
            if all(what in cell for cell in found.values())
        ]
        headers = ["T =", *map(str, grid)]
        return tabulate(cells, headers, tablefmt="github", disable_numparse=True)

    macs, right = record["network"]["macs"], 100 * record["ann"]["correct"] / n
    return f"""\
{WEIGHTS["network"]}, ReLU6, with public weights, on {n} photographs of {SIDE}x{SIDE};
{calibration} others calibrate. Agreement with the ANN: the percentage of photographs on
which both networks predict the same class. The reset is soft unless a row says
otherwise. *Even*: every layer receives the mean of its input at every step,
which leaves only clipping and rounding errors. The sampling of the photographs
has a margin of at most {196 * sqrt(0.25 / n):.1f} points, at 95 %.

{lines("agree", n / 100, 1)}

Synaptic operations per image, in units of the ANN's {macs / 1e6:.1f} M MACs (the
first layer, which receives no spikes, is not counted):

{lines("operations", macs, 2)}

The ANN predicts the label of {right:.1f} % of the photographs. They are not the
validation set of ImageNet: no number here is an ImageNet accuracy.
"""
