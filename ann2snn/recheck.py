"""Recomputes a record and says whether it agrees."""

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from ann2snn import records, training
from ann2snn.calibration import Statistics
from ann2snn.conversion import find
from ann2snn.data import load
from ann2snn.errors import UserError
from ann2snn.pipeline import converted, place_of, read, runs_of
from ann2snn.progress import Bar
from ann2snn.records import Job, unpack
from ann2snn.simulation import simulate
from ann2snn.sources import BATCH, Source
from ann2snn.sweeps import Settings, cpu_threads

IMAGES = 3  # may differ on another machine, besides twice the flips of a change as small as rounding


@dataclass(frozen=True)
class Checked:
    """One T: on how many test images the recomputed class differs, on how many a change as small as rounding flips it,
    and in the same environment whatever else differs (counts of validation, spikes, operations, the ANN's results)."""

    T: int
    differ: int
    flips: int
    accuracy: float
    recorded: float
    others: tuple[str, ...]

    def agrees(self, same: bool) -> bool:
        return not (self.differ or self.others) if same else self.differ <= self.allowed

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
    if (version := find(job.method).version) != job.method_version:
        raise UserError(f"The record is of version {job.method_version} of {job.method}, which is at {version} now.")
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
        stats, calibration_hash = source.statistics(job.calibration, job.calibration_seed, job.calibration_transform)
        if calibration_hash != place["calibration_hash"]:
            raise UserError("The calibration images drawn here are not those of the record: numpy draws differently.")
        here = place_of(source, calibration_hash)
        same = here["versions"]["torch"] == place["versions"]["torch"]
        same = same and all(here[k] == place[k] for k in ("device", "cpu", "threads", "batch"))
        same = same and here["engine"] == place.get("engine", "C" if source.device == "cpu" else "CUDA")
        return same, _compare(source, job, stats, record, same)


def _compare(source: Source, job: Job, stats: Statistics, record: dict, same: bool) -> list[Checked]:
    test, validation, lines = source.data.test, source.data.validation, []
    runs = runs_of(job.method, sorted(map(int, record["T"])))
    ann = ("ANN",) if same and source.results != record["ann"] else ()
    with closing(Bar("recheck", sum(times[-1] for times in runs))) as bar:
        for times in runs:
            snn, _ = converted(job, source, stats, times[-1])

            def again(part, change=0.0, snn=snn, times=times):
                images = (x * (1 + change) for x, _ in part.batches(BATCH))
                return simulate(snn, images, times[-1], at=times, batch=source.batch)

            result = again(test)
            found = read(result, test.labels, source, "test")
            held = read(again(validation), validation.labels, source, "validation") if same and len(validation) else {}
            other = None if same else again(test, 2**-20)
            for t in times:
                kept, new = record["T"][str(t)], found[str(t)]
                labels = torch.from_numpy(unpack(kept["test"]["predictions"]))
                differ = int((result.predictions(t).cpu() != labels).sum())
                flips = int((result.predictions(t) != other.predictions(t)).sum()) if other else 0
                right, recorded = (100 * part["correct"] / len(test) for part in (new, kept["test"]))
                others = ann + _others(kept, new, held.get(str(t))) if same else ()
                lines.append(Checked(t, differ, flips, right, recorded, others))
            bar.update(times[-1])
    return lines


def _others(kept: dict, test: dict, validation: dict | None) -> tuple[str, ...]:
    """What differs beside the predictions."""
    names = [name for name in ("spikes", "operations") if kept[name] != test[name]]
    names += ["undecided"] if kept["test"]["undecided"] != test["undecided"] else []
    return (*names, *(["validation"] if validation and kept["validation"] != validation else []))


def find_weights(path: Path, record: dict) -> Path:
    """The weights file of a record: published, or of this machine's runs."""
    published = [records.weights_path(record, root) for root in path.resolve().parents]
    trained = [f for root in path.resolve().parents for f in root.glob("sources/*/*/*/weights.pt")]
    wanted = record["source"]["weights_hash"]
    made = {name: record["job"][name] for name in ("network", "activation", "recipe", "seed")}
    for candidate in [p for p in published if p.exists()] + trained:
        info = info_of(candidate)
        if info.get("weights_hash") == wanted and made.items() <= info.items():
            return candidate
    raise UserError(
        f"No weights with the recorded hash {wanted[:12]}... lie beside {path}: name them with --weights FILE."
    )


def info_of(path: Path) -> dict:
    """What a weights file says of its source; nothing where it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)["info"]
    except Exception:
        return {}
