"""Errors of a conversion, layer by layer.

Three networks are compared: the ANN, the constant-rate network and the spiking network. In the constant-rate network
every layer receives the mean of its input at every step, so that only clipping and rounding are left. The paper's
theory describes the difference between the ANN and the constant-rate network, but not that between the constant-rate
and the spiking network, which depends on the timing of spikes.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import NoneType

import torch
from tabulate import tabulate
from torch import Tensor

from ann2snn.conform import ANY, conform
from ann2snn.errors import UserError
from ann2snn.experiments.layer_errors import constant_rate_network, layer_errors
from ann2snn.experiments.run_job import current_provenance
from ann2snn.experiments.source import SourceANN
from ann2snn.files import slug, write_atomic
from ann2snn.methods.registry import find
from ann2snn.reading import DamagedFile, leave_out, load_or_put_aside, read_json
from ann2snn.simulation.simulate import simulate

GRID, IMAGES = (4, 8, 16, 32), 1000
SCHEMA = {
    "source": dict.fromkeys(("dataset", "network", "activation", "recipe", "weights_hash"), str)
    | {"seed": (int, NoneType)},
    "method": {"name": str, "version": int, "calibration": int},
    "images": int,
    "inside": int,
    "ann": float,
    "T": {
        ANY: {
            "spiking": float,
            "evenly": float,
            "layers": [
                {"name": str}
                | dict.fromkeys(("bound", "rounding", "total", "spread", "current", "silent", "saturated"), float)
            ],
        }
    },
}


def diagnose(
    source: SourceANN, T: Iterable[int], images: int = IMAGES, inside: int = 200, calibration: int = 1024
) -> dict:
    """Diagnoses the conversion of a source by the method `optimal`.

    Args:
        source: The source ANN.
        T: Numbers of time steps.
        images: Number of test images for accuracies.
        inside: Number of test images for errors of layers.
        calibration: Number of calibration images.

    Returns:
        Accuracies (shares) of the three networks and errors of all layers at every T, with the fields of `SCHEMA`.
    """
    stats, calibration_hash = source.statistics(calibration, 0)
    part, method = source.data.test.subset(range(min(images, len(source.data.test)))), find("optimal")
    x, labels = part.__getitems__(range(len(part)))

    def accuracy(predictions: Tensor) -> float:
        return (predictions.cpu() == labels).double().mean().item()

    def accuracy_of(net) -> float:
        with torch.inference_mode():
            return accuracy(torch.cat([net(batch.to(source.device)).argmax(1).cpu() for batch in x.split(100)]))

    by_T = {}
    for t in sorted(set(T)):
        snn = method(source.ann, stats, t)
        by_T[str(t)] = {
            "spiking": accuracy(simulate(snn, x, t, batch=source.batch).predictions(t)),
            "evenly": accuracy_of(constant_rate_network(snn, t)),
            "layers": [vars(layer) for layer in layer_errors(source.ann, snn, x[:inside], t)],
        }
    return {
        "source": _source_fields(source.info),
        "method": {"name": method.name, "version": method.version, "calibration": calibration},
        "images": len(part),
        "inside": min(inside, len(part)),
        "ann": accuracy_of(source.ann),
        "T": by_T,
        "provenance": current_provenance(source, calibration_hash),
    }


def _source_fields(info: dict) -> dict:
    """The fields of a source's info that identify it."""
    return {name: info[name] for name in ("dataset", "network", "activation", "recipe", "seed", "weights_hash")}


def diagnose_source(name, source, jobs, T, settings, outcome) -> None:
    """Diagnoses a source at every T in `GRID`, or finds its diagnosis below `settings.runs`. A `process` of `sweep`."""
    images = min(IMAGES, len(source.data.test))
    wanted = _source_fields(source.info), find("optimal").version, {str(t) for t in GRID}, images
    for diagnosis in load_all(settings.runs):
        if (diagnosis["source"], diagnosis["method"]["version"], {*diagnosis["T"]}, diagnosis["images"]) == wanted:
            break
    else:
        print(f"{name}: diagnosis", file=sys.stderr)
        diagnosis = diagnose(source, GRID)
        save(diagnosis, settings.runs, replace=True)
    outcome.records.append(diagnosis)


def report(diagnosis: dict) -> str:
    """A table of accuracies over T, and one of the layers at the largest T, in 80 columns."""
    grid = sorted(diagnosis["T"], key=int)
    lines = [[t, 100 * diagnosis["T"][t]["evenly"], 100 * diagnosis["T"][t]["spiking"]] for t in grid]
    title = f"Accuracy on {diagnosis['images']} test images; the ANN: {100 * diagnosis['ann']:.1f} %"
    text = [title, tabulate(lines, ["T", "constant rate", "spiking"], floatfmt=".1f")]
    layers = [
        [x["name"], x["rounding"] / x["bound"], x["total"] / x["bound"], x["spread"], x["current"],
         100 * x["silent"], 100 * x["saturated"]] for x in diagnosis["T"][grid[-1]]["layers"]
    ]  # fmt: skip
    headers = ["layer", "rounding", "total", "std z / V", "std u / V", "silent", "full (%)"]
    text += [f"\nLayers at T = {grid[-1]}, {diagnosis['inside']} images; errors in V_th^2 / (12 T^2)"]
    return "\n".join([*text, tabulate(layers, headers, floatfmt=(".1f", ".2f", ".1f", ".2f", ".2f", ".1f", ".1f"))])


def save(diagnosis: dict, root: Path | str, replace: bool = False) -> Path:
    """Writes a diagnosis below `root/diagnosis`.

    Args:
        diagnosis: What `diagnose` returned.
        root: Folder of all results.
        replace: Whether to replace a diagnosis of the same source that has further T's or more images. Without it, that
            one is kept, with a notice on stderr.

    Returns:
        Path of the file.
    """
    source = diagnosis["source"]
    parts = [source["network"], source["activation"], source["recipe"]]
    parts += [] if source["seed"] is None else [f"seed{source['seed']}"]
    path = Path(root) / "diagnosis" / slug(source["dataset"]) / f"{'-'.join(map(slug, parts))}.json"
    if not replace and (old := load_or_put_aside(path, load)):
        comparable = (old["source"], old["method"]) == (source, diagnosis["method"])
        if comparable and (old["T"].keys() - diagnosis["T"].keys() or old["images"] > diagnosis["images"]):
            grid = ", ".join(sorted(old["T"], key=int))
            print(f"{path} is kept: it has T = {grid} and {old['images']:,} images.", file=sys.stderr)
            return path
    write_atomic(path, json.dumps(diagnosis, indent=1) + "\n")
    return path


def load(path: Path) -> dict:
    """Loads a diagnosis and checks it.

    Raises:
        DamagedFile: The file is damaged, or is not a diagnosis.
        UserError: The file cannot be read.
    """
    diagnosis = read_json(path)
    try:
        conform(diagnosis, SCHEMA, "diagnosis")
        if not diagnosis["T"] or not all(re.fullmatch("[1-9][0-9]{0,4}", T) for T in diagnosis["T"]):
            raise ValueError("it has no T")
        if not all(x["layers"] and all(layer["bound"] for layer in x["layers"]) for x in diagnosis["T"].values()):
            raise ValueError("it has no layers")
    except ValueError as error:
        raise DamagedFile(
            path, f"is not a valid diagnosis: {error}", "remove it and run the same command again"
        ) from None
    return diagnosis


def load_all(root: Path | str) -> list[dict]:
    """Loads all diagnoses below `root`, sorted by path. Damaged files are skipped with a notice on stderr."""
    diagnoses = []
    for path in sorted((Path(root) / "diagnosis").rglob("*.json")):
        try:
            diagnoses.append(load(path))
        except UserError as error:
            leave_out(error)
    return diagnoses
