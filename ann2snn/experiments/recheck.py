"""Recomputes a record and compares the results."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx

from ann2snn import devices
from ann2snn.calibration.statistics import Statistics
from ann2snn.data.augmentations import AUGMENTATIONS
from ann2snn.data.registry import load
from ann2snn.data.split import Split
from ann2snn.errors import UserError
from ann2snn.experiments import rounding
from ann2snn.experiments.cpu_threads import cpu_threads
from ann2snn.experiments.find_weights import find_weights
from ann2snn.experiments.recheck_result import CheckedStep, RecheckResult
from ann2snn.experiments.run_job import current_provenance, method_file, summarize, time_grids
from ann2snn.experiments.source import BATCH, SourceANN
from ann2snn.experiments.sweep import Settings
from ann2snn.methods.registry import find
from ann2snn.methods.source_hash import is_comparable
from ann2snn.progress import ProgressBar
from ann2snn.records import image_hashes, store
from ann2snn.records.job import Job
from ann2snn.records.packing import unpack
from ann2snn.records.schema import ANNResults, Provenance, Record, TimeStepResults
from ann2snn.simulation.result import Result
from ann2snn.simulation.simulate import simulate


def recheck(path: Path, settings: Settings, weights: Path | None = None) -> RecheckResult:
    """Recomputes a record and compares the results.

    Args:
        path: The record.
        settings: Folders of the data and of trained or imported weights, and the device.
        weights: Weights of the source; by default a file with the recorded hash, see `find_weights`.

    Raises:
        UserError: There are no such weights, the method has another version, or the data differ and no hashes say which
            test images are equal.
    """
    record = store.load(path)
    job, recorded = Job(**record["job"]), record["provenance"]
    method = find(job.method)
    if method.version != job.method_version:
        raise UserError(
            f"The record is of version {job.method_version} of {job.method}, which is at {method.version} now: check"
            " out the commit in the record, or run its job again."
        )
    if job.calibration_transform not in ("none", *AUGMENTATIONS):
        raise UserError(
            f"{path} was calibrated on images after {job.calibration_transform!r}, which is no augmentation."
        )
    accept_unofficial = settings.accept_unofficial or not record["data"]["official"]
    data, indices = load(job.dataset, settings.data_root, accept_unofficial=accept_unofficial), None
    if data.hash != job.data_hash:
        indices = image_hashes.matching_indices(job, data, [*path.resolve().parents])
        data = replace(data, hash=job.data_hash)  # everything that is used of the data is the same
    weights = weights or find_weights(path, record, settings.runs)
    source = SourceANN(data, weights, devices.resolve_device(settings.device))
    weights_hash = record["source"]["weights_hash"]
    if source.info["weights_hash"] != weights_hash:
        raise UserError(f"{weights} does not hold the weights of the record (sha256 {weights_hash[:12]}...).")
    with cpu_threads(min(recorded["threads"], os.cpu_count() or 1)):
        stats, calibration_hash = source.statistics(job.calibration, job.calibration_seed, job.calibration_transform)
        if calibration_hash != recorded["calibration_hash"]:
            raise UserError("The calibration images drawn here are not those of the record: numpy draws differently.")
        environment = _environment_differences(current_provenance(source, calibration_hash), recorded)
        remark = _method_remark(job.method, recorded.get("method_code"))
        lines = _compare(source, job, stats, record, not environment, indices)
    left_out = 0 if indices is None else record["data"]["n"]["test"] - len(indices)
    return RecheckResult(lines, environment, remark, left_out)


def _environment_differences(here: Provenance, recorded: Provenance) -> tuple[str, ...]:
    """Differences between two environments, such as `threads 2 for 1`."""
    engine = recorded.get("engine", "C" if recorded["device"] == "cpu" else "CUDA")  # early records do not name it
    pairs = {
        "device": (here["device"], recorded["device"]),
        "cpu": (here["cpu"], recorded["cpu"]),
        "threads": (here["threads"], recorded["threads"]),
        "batch": (here["batch"], recorded["batch"]),
        "engine": (here.get("engine"), engine),
        "torch": (here["versions"]["torch"], recorded["versions"]["torch"]),
    }
    return tuple(f"{name} {ours} for {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs)


def _method_remark(method: str, recorded: str | None) -> str | None:
    """A remark on the method's code; None where it is the record's, or where the record holds no hash of it."""
    if recorded in (None, find(method).source_hash):
        return None
    if is_comparable(recorded):
        return f"the method's file {method_file(method)}, or one that it imports, has changed since the record was made"
    return "the record is from an older version of ann2snn, whose hash of the method's file cannot be compared"


def _compare(
    source: SourceANN, job: Job, stats: Statistics, record: Record, same: bool, indices: np.ndarray | None
) -> list[CheckedStep]:
    """Recomputes all time steps and compares them on the test images at `indices`; None for all images."""
    test, validation = source.data.test, source.data.validation
    selected = slice(None) if indices is None else indices
    labels = _labels(record, test, selected, job.dataset)
    grids = time_grids(job.method, sorted(map(int, record["T"])))
    ann_differs = same and _comparable(source.results, selected) != _comparable(record["ann"], selected)
    perturbed = [] if same else [rounding.perturbed(source.ann, stats, seed) for seed in range(rounding.RUNS)]
    lines = []
    with closing(ProgressBar("recheck", sum(grid[-1] for grid in grids))) as bar:
        for grid in grids:
            result = _simulate(source, job, source.ann, stats, grid, test)
            summary = summarize(result, test.labels, source, "test")
            validation_summary = {}
            if same and len(validation):
                on_validation = _simulate(source, job, source.ann, stats, grid, validation)
                validation_summary = summarize(on_validation, validation.labels, source, "validation")
            others = [_simulate(source, job, ann, ann_stats, grid, test) for ann, ann_stats in perturbed]
            for t in grid:
                recorded = record["T"][str(t)]
                theirs = torch.from_numpy(unpack(recorded["test"]["predictions"]))[selected]
                ours = result.predictions(t).cpu()[selected]
                different = []
                if same:
                    different += ["ANN"] if ann_differs else []
                    different += _differences(
                        recorded, summary[str(t)], validation_summary.get(str(t)), all_images=indices is None
                    )
                lines.append(
                    CheckedStep(
                        T=t,
                        differ=int((ours != theirs).sum()),
                        flips=rounding.flips(ours, [other.predictions(t).cpu()[selected] for other in others]),
                        accuracy=_accuracy(ours, labels),
                        recorded=_accuracy(theirs, labels),
                        others=tuple(different),
                    )
                )
            bar.update(grid[-1])
    return lines


def _labels(record: Record, test: Split, selected: slice | np.ndarray, dataset: str) -> np.ndarray:
    """The labels of the selected test images, which must be those of the record."""
    labels, local = unpack(record["labels"]), test.labels.numpy()
    all_images = isinstance(selected, slice)
    if (all_images and len(labels) != len(test)) or not np.array_equal(labels[selected], local[selected]):
        raise UserError(f"The record has other labels than the {dataset} found here: run its job again.")
    return labels[selected]


def _simulate(
    source: SourceANN, job: Job, ann: fx.GraphModule, stats: Statistics, grid: list[int], part: Split
) -> Result:
    """Converts `ann` and simulates it on a split, with outputs at all time steps of a grid."""
    snn = find(job.method)(ann, stats, grid[-1], seed=job.calibration_seed, **job.options)
    images = (x for x, _ in part.batches(BATCH))
    return simulate(snn, images, grid[-1], at=grid, batch=source.batch)


def _accuracy(predictions: Tensor, labels: np.ndarray) -> float:
    return 100 * float((predictions.numpy() == labels).mean())


def _comparable(results: ANNResults, selected: slice | np.ndarray) -> tuple:
    """The results of the ANN that are compared."""
    return unpack(results["test"]["predictions"])[selected].tolist(), results["validation"]


def _differences(recorded: TimeStepResults, test: dict, validation: dict | None, all_images: bool) -> list[str]:
    """Names of the results that differ, predictions aside. Sums over test images need all images."""
    different = []
    if all_images:
        different += ["spikes"] if recorded["spikes"] != test["spikes"] else []
        different += ["operations"] if recorded["operations"] != test["operations"] else []
        different += ["undecided"] if recorded["test"]["undecided"] != test["undecided"] else []
    different += ["validation"] if validation and recorded["validation"] != validation else []
    return different
