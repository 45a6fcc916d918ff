"""Recomputes a record and says whether it agrees."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ann2snn import records, training
from ann2snn.calibration import Statistics
from ann2snn.conversion import find
from ann2snn.data import load
from ann2snn.errors import UserError
from ann2snn.pipeline import Settings, Source, cpu_threads, place_of
from ann2snn.records import Job, unpack
from ann2snn.simulation import BATCH, simulate

IMAGES = 3  # may differ on another machine, besides twice the flips of another batch size


@dataclass(frozen=True)
class Checked:
    """One T: on how many test images the recomputed class differs, and on how many a change of batch size flips it."""

    T: int
    differ: int
    flips: int
    accuracy: float
    recorded: float

    @property
    def allowed(self) -> int:
        return IMAGES + 2 * self.flips


def recheck(path: Path, settings: Settings, weights: Path | None = None) -> tuple[bool, list[Checked]]:
    """(same environment, one line a T). In the same environment nothing may differ; elsewhere `allowed` images may.

    The weights are those named, or the ones below `results/weights` or `runs/sources` beside the record that have the
    recorded hash. UserError where there are none, or where the data are not those of the record.
    """
    record = records.load(path)
    job, place = Job(**record["job"]), record["provenance"]
    unofficial = settings.accept_unofficial or not record["data"]["official"]
    data = load(job.dataset, settings.data_root, accept_unofficial=unofficial)
    if data.hash != job.data_hash:
        raise UserError(
            f"The record was made on other data than the {job.dataset} found here: name their folder with --data-root."
        )
    source = Source(data, weights or find_weights(path, record), training.accelerator(settings.device))
    wanted = record["source"]["weights_hash"]
    if source.info["weights_hash"] != wanted:
        raise UserError(f"{weights} does not hold the weights of the record (sha256 {wanted[:12]}...).")
    with cpu_threads(min(place["threads"], os.cpu_count() or 1)):
        stats, calibration_hash = source.statistics(job.calibration, job.calibration_seed)
        if calibration_hash != place["calibration_hash"]:
            raise UserError("The calibration images drawn here are not those of the record: numpy draws differently.")
        here = place_of(source, calibration_hash)
        same = here["versions"]["torch"] == place["versions"]["torch"]
        same = same and all(here[k] == place[k] for k in ("device", "cpu", "threads", "batch"))
        return same, _compare(source, job, stats, record, same)


def _compare(source: Source, job: Job, stats: Statistics, record: dict, same: bool) -> list[Checked]:
    test, lines = source.data.test, []
    grid = sorted(map(int, record["T"]))
    for times in [[t] for t in grid] if find(job.method).depends_on_T else [grid]:
        snn = find(job.method)(source.ann, stats, times[-1], **job.options)
        sizes = [BATCH] if same else [BATCH, BATCH // 7]
        results = [simulate(snn, test.batches(size), times[-1], at=times) for size in sizes]
        for t in times:
            found, *other = [result.predictions(t).cpu() for result in results]
            kept = torch.from_numpy(unpack(record["T"][str(t)]["test"]["predictions"]))
            flips = sum(int((found != again).sum()) for again in other)
            right = [100 * (p == test.labels).double().mean().item() for p in (found, kept)]
            lines.append(Checked(t, int((found != kept).sum()), flips, *right))
    return lines


def find_weights(path: Path, record: dict) -> Path:
    """The weights file of a record: published, or of this machine's runs."""
    published = [records.weights_path(record, root) for root in path.resolve().parents]
    trained = [f for root in path.resolve().parents for f in root.glob("sources/*/*/*/weights.pt")]
    wanted = record["source"]["weights_hash"]
    for candidate in [p for p in published if p.exists()] + trained:
        if weights_hash_of(candidate) == wanted:
            return candidate
    raise UserError(
        f"No weights with the recorded hash {wanted[:12]}... lie beside {path}: name them with --weights FILE."
    )


def weights_hash_of(path: Path) -> str | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)["info"]["weights_hash"]
    except Exception:
        return None
