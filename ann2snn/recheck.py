"""Recomputes a record and says whether it agrees."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ann2snn import records, training
from ann2snn.conversion import find
from ann2snn.data import load
from ann2snn.errors import UserError
from ann2snn.pipeline import Settings, Source
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
    torch.set_num_threads(min(place["threads"], os.cpu_count() or 1))
    data = load(
        job.dataset, settings.data_root, accept_unofficial=settings.accept_unofficial or not record["data"]["official"]
    )
    if data.hash != job.data_hash:
        raise UserError(
            f"The record was made on other data than the {job.dataset} found here: name their folder with --data-root."
        )
    source = Source(data, weights or find_weights(path, record), training.accelerator(settings.device))
    if source.info["weights_hash"] != record["source"]["weights_hash"]:
        raise UserError(
            f"{weights} does not hold the weights of the record (sha256 {record['source']['weights_hash'][:12]}...)."
        )
    stats, calibration_hash = source.statistics(job.calibration, job.calibration_seed)
    if calibration_hash != place["calibration_hash"]:
        raise UserError(
            "The calibration images drawn here are not those of the record: the versions of numpy differ too much."
        )
    device = f"cuda: {torch.cuda.get_device_name()}" if source.device == "cuda" else source.device
    here = records.provenance(
        device=device, threads=torch.get_num_threads(), batch=BATCH, calibration_hash=calibration_hash
    )
    same = all(here[k] == place[k] for k in ("device", "cpu", "threads", "batch")) and (
        here["versions"]["torch"] == place["versions"]["torch"]
    )
    grid = sorted(map(int, record["T"]))
    labels, lines = data.test.labels, []
    for runs in [[t] for t in grid] if find(job.method).depends_on_T else [grid]:
        snn = find(job.method)(source.ann, stats, runs[-1], **job.options)

        def simulated(batch, snn=snn, runs=runs):
            return simulate(snn, (x for x, _ in data.test.batches(batch)), runs[-1], at=runs)

        result, other = simulated(BATCH), None if same else simulated(BATCH // 7)
        for t in runs:
            found = result.predictions(t).cpu()
            kept = torch.from_numpy(unpack(record["T"][str(t)]["test"]["predictions"]))
            differ = int((found != kept).sum())
            flips = 0 if other is None else int((found != other.predictions(t).cpu()).sum())
            right = [100 * (p == labels).double().mean().item() for p in (found, kept)]
            lines.append(Checked(t, differ, flips, *right))
    return same, lines


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
