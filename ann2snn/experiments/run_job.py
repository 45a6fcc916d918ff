"""Runs one job: dataset -> source ANN -> graph -> statistics -> converted SNN -> T time steps -> record."""

import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, fx

from ann2snn import devices, reading
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.time_steps import steps
from ann2snn.data.split import Split
from ann2snn.errors import UserError
from ann2snn.experiments.source import BATCH, SourceANN
from ann2snn.methods.registry import find
from ann2snn.methods.source_hash import is_comparable
from ann2snn.records import provenance, store
from ann2snn.records.job import Job
from ann2snn.records.packing import pack
from ann2snn.records.partial import PartialResults, fingerprint
from ann2snn.records.schema import JobFields, Provenance, Record, SourceFields
from ann2snn.simulation.backends import engine
from ann2snn.simulation.result import Result
from ann2snn.simulation.simulate import simulate

CHUNK_SIZE = 1000  # images; an interrupted job loses one chunk at most
SOURCE_FIELDS = ("weights_hash", "training_seconds", "trained_on")  # of a source's info that its records hold


def run(
    job: Job, T: Iterable[int], source: SourceANN, root: Path | str, progress: Callable[[int], None] = lambda n: None
) -> Record:
    """Runs a job, and saves its record below `root`.

    Time steps recorded earlier in the same environment are kept, and an interrupted job resumes.

    Args:
        job: The job.
        T: Numbers of time steps.
        source: The source ANN.
        root: Folder of all results.
        progress: Called with a number of image-steps whenever that many are done.

    Returns:
        The record.

    Raises:
        UserError: The conversion or the simulation fails.
    """
    stats, calibration_hash = source.statistics(job.calibration, job.calibration_seed, job.calibration_transform)
    new = _new_record(job, source, calibration_hash)
    record = _recorded(job, root, new) or new
    grids = time_grids(job.method, _missing_steps(job, T, record))
    partial = PartialResults(job, root, record, grids, new["provenance"]["dirty"])
    if grids:
        record["provenance"] = new["provenance"]
        for grid in grids:
            conversion_seconds = _simulate_grid(job, grid, source, stats, partial, progress)
            for t in grid:
                extra = {"conversion_seconds": conversion_seconds, "commit": new["provenance"]["commit"]}
                record["T"][str(t)] = partial.merge(t) | extra  # type: ignore[assignment]
        _save(record, job, root)
    partial.close()
    return record


def _recorded(job: Job, root: Path | str, new: Record) -> Record | None:
    """The job's saved record, if it is of the same environment as the new one."""
    saved = _load(job, root)
    return saved if saved and fingerprint(saved) == fingerprint(new) else None


def _load(job: Job, root: Path | str) -> Record | None:
    """The job's saved record; a damaged one is renamed."""
    return reading.load_or_put_aside(job.path(root), store.load)


def _missing_steps(job: Job, T: Iterable[int], record: Record) -> list[int]:
    return sorted(readout_steps(job, T) - {int(t) for t in record["T"]})


def _simulate_grid(
    job: Job,
    grid: list[int],
    source: SourceANN,
    stats: Statistics,
    partial: PartialResults,
    progress: Callable[[int], None],
) -> float:
    """Simulates all chunks of images that `partial` lacks. Returns the seconds of the conversion."""
    snn, conversion_seconds = converted(job, source, stats, grid[-1])
    for split in ("test", "validation"):
        for start, images in _chunks(getattr(source.data, split)):
            key = partial.key(split, start, grid)
            if key not in partial:
                batches = (x for x, _ in images.batches(BATCH))
                with find(job.method).errors():
                    result = simulate(snn, batches, grid[-1], at=grid, batch=source.batch)
                _check_shape(result, (len(images), source.data.classes), job.method)
                partial.write(key, summarize(result, images.labels, source, split))
            progress(len(images) * grid[-1])
    return conversion_seconds


def _save(record: Record, job: Job, root: Path | str) -> None:
    """Saves a record, merged with time steps that another process saved meanwhile in the same environment."""
    if saved := _load(job, root):
        if fingerprint(saved) == fingerprint(record):
            _merge(saved, record)
        elif lost := sorted(int(t) for t in saved["T"].keys() - record["T"].keys()):
            _put_aside(saved, record, job, root, lost)
    store.save(record, root)


def _merge(saved: Record, record: Record) -> None:
    """Adds the time steps of `saved` to `record`. The merged record is dirty if one of the two is."""
    record["T"] = saved["T"] | record["T"]
    dirty = saved["provenance"]["dirty"], record["provenance"]["dirty"]
    record["provenance"]["dirty"] = True if True in dirty else None if None in dirty else False


def _put_aside(saved: Record, record: Record, job: Job, root: Path | str, lost: list[int]) -> None:
    """Renames a saved record of another environment that has time steps which the new record lacks."""
    renamed = job.path(root).with_suffix(f".{fingerprint(saved)[:8]}.old")
    job.path(root).rename(renamed)
    difference = _difference(saved["provenance"].get("method_code"), job.method)
    print(f"{renamed.name} keeps T = {', '.join(map(str, lost))}, made {difference}.", file=sys.stderr)


def _difference(recorded: str | None, method: str) -> str:
    """How a record was made that is put aside; `recorded` is its hash of the method's code."""
    if recorded == find(method).source_hash:
        return "in another environment"
    if is_comparable(recorded):
        return f"with another {method_file(method)}"
    return "by an older version of ann2snn, which hashed methods in another way"


def converted(job: Job, source: SourceANN, stats: Statistics, T: int) -> tuple[fx.GraphModule, float]:
    """Converts the source of a job for T steps.

    Returns:
        The spiking network, and the seconds that the conversion takes, including all statistics that it uses even if
        they were computed before.
    """
    before, began = sum(stats.seconds.values()), time.perf_counter()
    stats.used.clear()
    snn = find(job.method)(source.ann, stats, T, seed=job.calibration_seed, **job.options)
    seconds = time.perf_counter() - began - (sum(stats.seconds.values()) - before)
    return snn, round(seconds + sum(stats.seconds[name] for name in stats.used), 4)


def readout_steps(job: Job, T: Iterable[int]) -> set[int]:
    """The numbers of steps in T at which the job has an output: those after the warm-up of its method.

    Raises:
        UserError: There are none.
    """
    warmup = job.options.get("warmup", 0)
    readable = {t for t in map(steps, T) if t > warmup}
    if not readable:
        raise UserError(f"{job.method} has no output in its first {warmup} steps: name a T of {warmup + 1} or more.")
    return readable


def time_grids(method: str, T: list[int]) -> list[list[int]]:
    """Groups time steps into simulations: one for each T if the conversion depends on T, else one for all."""
    if find(method).depends_on_T:
        return [[t] for t in T]
    return [T] if T else []


def _chunks(split: Split) -> Iterator[tuple[int, Split]]:
    for start in range(0, len(split), CHUNK_SIZE):
        yield start, split.subset(range(start, min(start + CHUNK_SIZE, len(split))))


def _check_shape(result: Result, expected: tuple[int, int], method: str) -> None:
    shape = tuple(result.mean().shape)
    if shape != expected:
        raise UserError(
            f"The network that {method} made has outputs of shape {shape}, and {expected} is needed: leave all but the"
            " activations as replace_activations made it."
        )


def summarize(result: Result, labels: Tensor, source: SourceANN, split: str) -> dict[str, dict]:
    """The results of a simulation that a record holds, by number of time steps.

    Args:
        result: The simulation.
        labels: Classes (N,) of its images.
        source: The source ANN.
        split: "test", or "validation" for counts only.
    """
    summary = {}
    for t in result.outputs:
        predictions = result.predictions(t).cpu()
        correct = int((predictions == labels).sum())
        summary[str(t)] = {"n": len(labels), "correct": correct, "undecided": result.undecided(t)}
        if split == "test":
            summary[str(t)] |= {
                "predictions": predictions.tolist(),
                "spikes": result.spikes(t),
                "operations": source.costs.operations(result.events[t]),
                "seconds": result.seconds[t],
                "latency": result.latency[t],
            }
    return summary


def _new_record(job: Job, source: SourceANN, calibration_hash: str) -> Record:
    """A record without results of the SNN."""
    data, costs = source.data, source.costs
    method = find(job.method)
    made: Provenance = {**current_provenance(source, calibration_hash), "method_code": method.source_hash}
    if method.is_plugin:  # no commit holds the code of a plug-in
        made["dirty"] = True
    info = {name: source.info[name] for name in SOURCE_FIELDS if name in source.info}
    return {
        "id": job.id,
        "job": cast(JobFields, asdict(job)),
        "labels": pack(data.test.labels.numpy()),
        "ann": source.results,
        "T": {},
        "network": {
            "parameters": sum(p.numel() for p in source.net.parameters()),
            "neurons": costs.neurons,
            "macs": costs.macs,
            "analog": list(costs.analog),
        },
        "source": cast(SourceFields, info),
        "data": {
            "official": data.official,
            "n": {
                "train": len(data.train),
                "validation": len(data.validation),
                "test": len(data.test),
                "calibration": job.calibration,
            },
        },
        "provenance": made,
    }


def method_file(name: str) -> str:
    """Path of the file of a method, relative to the current folder if it is below it."""
    file = Path(inspect.getsourcefile(find(name).function) or name)
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def current_provenance(source: SourceANN, calibration_hash: str) -> Provenance:
    """The provenance of a record that this process makes now."""
    made = provenance.provenance(
        device=devices.device_name(source.device),
        threads=torch.get_num_threads(),
        batch=source.batch,
        calibration_hash=calibration_hash,
    )
    return {**made, "engine": engine(source.device)}
