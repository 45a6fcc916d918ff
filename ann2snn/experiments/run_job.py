"""dataset -> source ANN -> graph -> statistics -> converted SNN -> T steps -> record.

`run` is that sentence for one job.
"""

import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, fx

from ann2snn import devices, reading
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.time_steps import steps
from ann2snn.data.split import Split
from ann2snn.errors import UserError
from ann2snn.experiments.source import BATCH, Source
from ann2snn.methods.registry import find
from ann2snn.methods.source_hash import is_comparable
from ann2snn.records import provenance, store
from ann2snn.records.job import Job
from ann2snn.records.packing import pack
from ann2snn.records.partial import Notebook, fingerprint
from ann2snn.simulation.backends import engine
from ann2snn.simulation.result import Result
from ann2snn.simulation.simulate import simulate

CHUNK = 1000  # images; what a kill costs at most
TOLD = ("weights_hash", "training_seconds", "trained_on")  # of a source: what its records say


def run(
    job: Job, T: Iterable[int], source: Source, root: Path | str, tick: Callable[[int], None] = lambda n: None
) -> dict:
    """One job at every T of the grid -> its finished record, saved below `root`.

    T's that other runs of the same job left behind are kept, if they were made in the same environment. `tick(n)` hears
    of every n image-steps that are done.
    """
    stats, calibration_hash = source.statistics(job.calibration, job.calibration_seed, job.calibration_transform)
    fresh = _empty(job, source, calibration_hash)
    before = _left(job, root)
    record = before if before and fingerprint(before) == fingerprint(fresh) else fresh
    grids = runs_of(job.method, sorted(readable(job, T) - {int(t) for t in record["T"]}))
    notebook = Notebook(job, root, record, grids, fresh["provenance"]["dirty"])
    if not grids:
        notebook.close()
        return record
    record["provenance"] = fresh["provenance"]
    for grid in grids:
        snn, spent = converted(job, source, stats, grid[-1])
        for split in ("test", "validation"):
            for chunk, images in _chunks(getattr(source.data, split)):
                key = f"{split} {chunk} T {' '.join(map(str, grid))}"
                if key not in notebook:
                    batches = (x for x, _ in images.batches(BATCH))
                    with find(job.method).errors():
                        result = simulate(snn, batches, grid[-1], at=grid, batch=source.batch)
                    _check_shape(result, (len(images), source.data.classes), job.method)
                    notebook.write(key, read(result, images.labels, source, split))
                tick(len(images) * grid[-1])
        made = {"conversion_seconds": spent, "commit": fresh["provenance"]["commit"]}
        record["T"] |= {str(t): notebook.gather(t) | made for t in grid}
    _save(record, job, root)
    notebook.close()
    return record


def converted(job: Job, source: Source, stats: Statistics, T: int) -> tuple[fx.GraphModule, float]:
    """The spiking network of a job, and the seconds that it takes from a source whose statistics are not known yet."""
    before, began = sum(stats.seconds.values()), time.perf_counter()
    stats.used.clear()
    snn = find(job.method)(source.ann, stats, T, seed=job.calibration_seed, **job.options)
    spent = time.perf_counter() - began - (sum(stats.seconds.values()) - before)
    return snn, round(spent + sum(stats.seconds[name] for name in stats.used), 4)


def _left(job: Job, root: Path | str) -> dict | None:
    """The record of the job that lies below `root`; a damaged one is put aside."""
    return reading.load_or_put_aside(job.path(root), store.load)


def _save(record: dict, job: Job, root: Path | str) -> None:
    """Joined with what other processes saved meanwhile; a record of another environment with more T's is put aside."""
    if before := _left(job, root):
        if fingerprint(before) == fingerprint(record):
            record["T"] = before["T"] | record["T"]
            dirty = before["provenance"]["dirty"], record["provenance"]["dirty"]
            record["provenance"]["dirty"] = True if True in dirty else None if None in dirty else False
        elif more := sorted(int(t) for t in before["T"].keys() - record["T"].keys()):
            aside = job.path(root).with_suffix(f".{fingerprint(before)[:8]}.old")
            job.path(root).rename(aside)
            how = _difference(before["provenance"].get("method_code"), job.method)
            print(f"{aside.name} keeps T = {', '.join(map(str, more))}, made {how}.", file=sys.stderr)
    store.save(record, root)


def _difference(recorded: str | None, method: str) -> str:
    """How a record was made that is put aside; `recorded` is its hash of the method's code."""
    if recorded == find(method).source_hash:
        return "in another environment"
    if is_comparable(recorded):
        return f"with another {method_file(method)}"
    return "by an older version of ann2snn, which hashed methods in another way"


def readable(job: Job, T: Iterable[int]) -> set[int]:
    """Those T at which there is something to read: a method's warm-up counts as steps. UserError for none."""
    warmup, T = job.options.get("warmup", 0), {steps(t) for t in T}
    if not (found := {t for t in T if t > warmup}):
        raise UserError(f"{job.method} reads nothing in its first {warmup} steps: name a T of {warmup + 1} or more.")
    return found


def runs_of(method: str, T: list[int]) -> list[list[int]]:
    """One run for each T where the conversion depends on T, else one for all of them."""
    return [[t] for t in T] if find(method).depends_on_T else [T] if T else []


def _chunks(split: Split) -> Iterator[tuple[int, Split]]:
    for start in range(0, len(split), CHUNK):
        yield start, split.subset(range(start, min(start + CHUNK, len(split))))


def _check_shape(result: Result, shape: tuple[int, int], method: str) -> None:
    found = tuple(result.mean().shape)
    if found != shape:
        raise UserError(
            f"The network that {method} made has outputs of shape {found}, and {shape} is needed: leave all but the"
            " activations as replace_activations made it."
        )


def read(result: Result, labels: Tensor, source: Source, split: str) -> dict:
    """What a record keeps of a simulation, by T."""
    out = {}
    for t in result.outputs:
        found = result.predictions(t).cpu()
        out[str(t)] = {"n": len(labels), "correct": int((found == labels).sum()), "undecided": result.undecided(t)}
        if split == "test":
            out[str(t)] |= {
                "predictions": found.tolist(),
                "spikes": result.spikes(t),
                "operations": source.costs.operations(result.events[t]),
                "seconds": result.seconds[t],
                "latency": result.latency[t],
            }
    return out


def _empty(job: Job, source: Source, calibration_hash: str) -> dict:
    """A record without its T's."""
    data, price = source.data, source.costs
    sizes = {split: len(getattr(data, split)) for split in ("train", "validation", "test")}
    return {
        "id": job.id,
        "job": asdict(job),
        "labels": pack(data.test.labels.numpy()),
        "ann": source.results,
        "T": {},
        "network": {
            "parameters": sum(p.numel() for p in source.net.parameters()),
            "neurons": price.neurons,
            "macs": price.macs,
            "analog": list(price.analog),
        },
        "source": {name: source.info[name] for name in TOLD if name in source.info},
        "data": {"official": data.official, "n": sizes | {"calibration": job.calibration}},
        "provenance": place_of(source, calibration_hash) | _code(job),
    }


def _code(job: Job) -> dict:
    """The method's own file, and that a plug-in is code which no commit holds."""
    method = find(job.method)
    return {"method_code": method.source_hash} | ({"dirty": True} if method.is_plugin else {})


def method_file(name: str) -> str:
    """The file of a method, relative to the current folder where it is below it."""
    file = Path(inspect.getsourcefile(find(name).function) or name)
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def place_of(source: Source, calibration_hash: str) -> dict:
    """Where and with what this process computes (a record's provenance)."""
    device = devices.device_name(source.device)
    threads = torch.get_num_threads()
    where = {"device": device, "threads": threads, "batch": source.batch}
    return provenance.provenance(**where, calibration_hash=calibration_hash) | {"engine": engine(source.device)}
