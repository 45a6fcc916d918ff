"""dataset -> source ANN -> graph -> statistics -> converted SNN -> T steps -> record.

`run` is that sentence for one job; `sweep` runs many and goes on where an earlier one was stopped.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, fx

from ann2snn import imports, records, tracking, training
from ann2snn.calibration import Statistics
from ann2snn.conversion import find
from ann2snn.data import AUGMENTATIONS, Data, Split, load
from ann2snn.errors import StorageError, UserError
from ann2snn.graph import prepare
from ann2snn.metrics import costs
from ann2snn.progress import Bar
from ann2snn.records import Job, pack
from ann2snn.simulation import Result, batch_for, simulate

BATCH = 500  # images in a forward pass of the ANN
CHUNK = 1000  # images; what a kill costs at most
TOLD = ("weights_hash", "training_seconds", "trained_on")  # of a source: what its records say


@dataclass(frozen=True)
class Sweep:
    """A table's worth of jobs: every source network times every method, read at every T."""

    id: str
    dataset: str
    networks: tuple[str, ...]
    activations: tuple[str, ...]
    seeds: tuple[int | None, ...]  # of the trainings; None: the imported weights of `recipe`
    methods: tuple[tuple[str, dict], ...]  # (name, options)
    T: tuple[int, ...]
    calibration: int = 1024
    calibration_seeds: tuple[int, ...] = (0,)
    calibration_transform: str = "none"  # or an augmentation of the data
    threads: int | None = None  # of the CPU; fixed where results shall not depend on the number of cores
    recipe: str | None = None  # of the trainings, by name; of imported weights "akamaster-12fca82f"

    def sources(self) -> Iterator[tuple[str, str, int | None]]:
        return ((n, a, s) for n in self.networks for a in self.activations for s in self.seeds)

    def methods_for(self, activation: str) -> tuple[tuple[str, dict], ...]:
        """Those that convert networks with this activation."""
        return tuple((name, options) for name, options in self.methods if find(name).applies(activation))

    def parts(self) -> "list[Sweep]":
        """The same jobs, in parts of one source each."""
        return [
            replace(self, networks=(n,), activations=(a,), seeds=(s,), methods=methods)
            for n, a, s in self.sources()
            if (methods := self.methods_for(a))
        ]

    def jobs(self, data: Data, network: str, activation: str, seed: int | None) -> list[Job]:
        """The jobs of one source. UserError for what cannot be run, such as an option that does not exist."""
        data.calibration(self.calibration)
        if self.calibration_transform not in ("none", *AUGMENTATIONS):
            known = ", ".join(AUGMENTATIONS)
            raise UserError(f"No augmentation is called {self.calibration_transform!r}; there is: {known}.")
        if not (methods := self.methods_for(activation)):
            only = " and ".join(sorted({f"{name} (for {find(name).only_on})" for name, _ in self.methods}))
            raise UserError(f"{only}: none of these converts networks trained with {activation}.")
        recipe = str(self.recipe) if seed is None else training.recipe_of(data.name, network, self.recipe).key
        made = [
            Job(
                dataset=data.name,
                data_hash=data.hash,
                network=network,
                activation=activation,
                recipe=recipe,
                seed=seed,
                method=method,
                method_version=find(method).version,
                options=find(method).check(options),
                calibration=self.calibration,
                calibration_seed=calibration_seed,
                calibration_transform=self.calibration_transform,
                readout=options.get("readout", "accumulated"),
            )
            for method, options in methods
            for calibration_seed in self.calibration_seeds
        ]
        for job in made:
            readable(job, self.T)
        return made


class Source:
    """A trained network with what all its methods share; every part is made when it is first asked for.

    `data` are normalised as the network was trained: imported weights say how. For these there is no validation.
    """

    def __init__(self, data: Data, weights: Path | str, device: str = "cpu"):
        self.path, self.device = Path(weights), device
        self.net, self.info = training.load_source(weights)
        if (self.info["dataset"], self.info["data_hash"] or data.hash) != (data.name, data.hash):
            raise UserError(f"{weights} was trained on other data than this {data.name}: train it again.")
        if self.info["num_classes"] != data.classes:
            raise UserError(f"{weights} has {self.info['num_classes']} classes, this {data.name} {data.classes}.")
        data = data.normalised(self.info.get("normalization"))
        seen = self.info["seed"] is None  # imported weights have seen all official training images
        self.data = replace(data, validation=data.validation.subset([])) if seen else data
        self._statistics: dict[tuple[int, int, str], tuple[Statistics, str]] = {}

    @cached_property
    def ann(self):
        images, _ = next(self.data.train.batches(1))
        return prepare(self.net, images).to(self.device)

    @cached_property
    def costs(self):
        return costs(self.ann, self.data.shape)

    @cached_property
    def batch(self) -> int:
        """Images that are simulated at once."""
        return batch_for(sum(self.costs.neurons.values()), self.device)

    @cached_property
    def results(self) -> dict:
        """What the ANN itself gets right, on both splits, with its predictions on test."""
        return {"test": self.result("test"), "validation": self.result("validation")}

    def result(self, split: str) -> dict:
        part, net = getattr(self.data, split), self.net.to(self.device)
        with torch.inference_mode():
            found = [net(x.to(self.device)).argmax(1).cpu() for x, _ in part.batches(BATCH)] if len(part) else []
            found = torch.cat([torch.tensor([], dtype=torch.int64), *found])
        out = {"n": len(part), "correct": int((found == part.labels).sum())}
        return out | ({"predictions": pack(found.numpy())} if split == "test" else {})

    def statistics(self, n: int, seed: int, transform: str = "none") -> tuple[Statistics, str]:
        """Of n calibration images drawn with this seed, and the hash of which ones.

        `transform` is an augmentation, drawn with the same seed, or none.
        """
        key = n, seed, transform
        if key not in self._statistics:
            images = self.data.calibration(n, seed)
            augmented = images if transform == "none" else images.augmented(transform)

            def batches():
                with torch.random.fork_rng([]):
                    torch.manual_seed(seed)
                    yield from (x for x, _ in augmented.batches(BATCH))

            self._statistics[key] = Statistics(self.ann, batches), images.indices_hash
        return self._statistics[key]


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
    record = before if before and _fingerprint(before) == _fingerprint(fresh) else fresh
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
                    result = simulate(snn, batches, grid[-1], at=grid, batch=source.batch)
                    notebook.write(key, read(result, images.labels, source, split))
                tick(len(images) * grid[-1])
        made = {"conversion_seconds": spent, "commit": fresh["provenance"]["commit"]}
        record["T"] |= {str(t): notebook.gather(t) | made for t in grid}
    _save(record, job, root)
    notebook.close()
    return record


def converted(job: Job, source: "Source", stats: Statistics, T: int) -> tuple[fx.GraphModule, float]:
    """The spiking network of a job, and the seconds that it takes from a source whose statistics are not known yet."""
    before, began = sum(stats.seconds.values()), time.perf_counter()
    stats.used.clear()
    snn = find(job.method)(source.ann, stats, T, seed=job.calibration_seed, **job.options)
    spent = time.perf_counter() - began - (sum(stats.seconds.values()) - before)
    return snn, round(spent + sum(stats.seconds[name] for name in stats.used), 4)


def _left(job: Job, root: Path | str) -> dict | None:
    """The record of the job that lies below `root`."""
    path = job.path(root)
    return records.load(path) if path.exists() else None


def _save(record: dict, job: Job, root: Path | str) -> None:
    """Joined with what other processes saved meanwhile; a record of another environment with more T's is put aside."""
    if before := _left(job, root):
        if _fingerprint(before) == _fingerprint(record):
            record["T"] = before["T"] | record["T"]
            dirty = before["provenance"]["dirty"], record["provenance"]["dirty"]
            record["provenance"]["dirty"] = True if True in dirty else None if None in dirty else False
        elif more := sorted(int(t) for t in before["T"].keys() - record["T"].keys()):
            aside = job.path(root).with_suffix(f".{_fingerprint(before)[:8]}.old")
            job.path(root).rename(aside)
            print(f"{aside.name} keeps T = {', '.join(map(str, more))}, made in another environment.", file=sys.stderr)
    records.save(record, root)


def readable(job: Job, T: Iterable[int]) -> set[int]:
    """Those T at which there is something to read: a method's warm-up counts as steps. UserError for none."""
    warmup = job.options.get("warmup", 0)
    if not (found := {t for t in T if t > warmup}):
        raise UserError(f"{job.method} reads nothing in its first {warmup} steps: name a T of {warmup + 1} or more.")
    return found


def runs_of(method: str, T: list[int]) -> list[list[int]]:
    """One run for each T where the conversion depends on T, else one for all of them."""
    return [[t] for t in T] if find(method).depends_on_T else [T] if T else []


def _chunks(split: Split) -> Iterator[tuple[int, Split]]:
    for start in range(0, len(split), CHUNK):
        yield start, split.subset(range(start, min(start + CHUNK, len(split))))


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
        "provenance": place_of(source, calibration_hash),
    }


def place_of(source: Source, calibration_hash: str) -> dict:
    """Where and with what this process computes (a record's provenance)."""
    device = records.device_name(source.device)
    threads = torch.get_num_threads()
    return records.provenance(device=device, threads=threads, batch=source.batch, calibration_hash=calibration_hash)


class Notebook:
    """The finished parts of a job that is under way, in one file beside its record; a kill costs the part in flight.

    Parts that an earlier run left are taken over, if they are of the same environment and of the runs planned now, and
    from code as clean as today's.
    """

    def __init__(self, job: Job, root: Path | str, record: dict, grids: list[list[int]], dirty: bool | None):
        self.path = job.path(root).with_suffix(".partial.json")
        self.fingerprint = f"{_fingerprint(record)} {dirty}"
        planned = {" ".join(map(str, grid)) for grid in grids}
        self.units: dict[str, dict] = {}
        if self.path.exists():
            try:
                kept = json.loads(self.path.read_text())
            except ValueError:
                kept = {}
            if kept.get("fingerprint") == self.fingerprint:
                self.units = {key: unit for key, unit in kept["units"].items() if key.partition(" T ")[2] in planned}

    def __contains__(self, key: str) -> bool:
        return key in self.units

    def write(self, key: str, results: dict) -> None:
        self.units[key] = results
        text = json.dumps({"fingerprint": self.fingerprint, "units": self.units})
        records.write_atomic(self.path, text)

    def gather(self, t: int) -> dict:
        """All chunks of both splits at one T, as the record holds them."""
        parts = {"test": [], "validation": []}
        for key, unit in self.units.items():
            if str(t) in unit:
                parts[key.split()[0]].append((int(key.split()[1]), unit[str(t)]))
        out = {}
        for split, found in parts.items():
            chunks = [chunk for _, chunk in sorted(found, key=lambda part: part[0])]
            out[split] = {name: sum(c[name] for c in chunks) for name in ("n", "correct", "undecided")}
            if split == "test":
                out[split]["predictions"] = pack([p for c in chunks for p in c["predictions"]])
                out["seconds"] = round(sum(c["seconds"] for c in chunks), 4)
                out["latency"] = chunks[0]["latency"]
                for name in ("spikes", "operations"):
                    out[name] = {layer: sum(c[name][layer] for c in chunks) for layer in chunks[0][name]}
        return out

    def close(self) -> None:
        self.path.unlink(missing_ok=True)


def _fingerprint(record: dict) -> str:
    """What two parts of one record must share."""
    place = record["provenance"]
    same = [place[k] for k in ("versions", "device", "cpu", "threads", "batch", "calibration_hash")]
    text = json.dumps([record["id"], record["source"]["weights_hash"], same], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Outcome:
    """What a sweep made, and what it left out, with the reason."""

    records: list[dict] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What cannot be done is listed with its reason; StorageError passes: nothing can be kept any more."""
        try:
            yield
        except StorageError:
            raise
        except UserError as error:
            self.skipped.append((what, str(error)))


@dataclass(frozen=True)
class Settings:
    """How to run, as opposed to what."""

    runs: Path
    data_root: Path | None = None
    accept_unofficial: bool = False
    device: str = "auto"
    wandb: str = "off"


def sweep(sweeps: Iterable[Sweep], settings: Settings, work: Callable | None = None) -> Outcome:
    """Runs all jobs, source by source; what cannot be done is listed with its reason, and the rest goes on.

    StorageError ends it: what cannot be written need not be computed. `work(name, source, jobs, T, settings, outcome)`
    is what is done with every source, by default `sweep_source`.
    """
    outcome, datasets = Outcome(), {}
    served = [(table, [next(part.sources()) for part in table.parts()] or list(table.sources())) for table in sweeps]
    place, places = 0, sum(len(sources) for _, sources in served)
    for table, sources in served:
        with outcome.attempt(table.id), cpu_threads(table.threads):
            if table.dataset not in datasets:
                unofficial = settings.accept_unofficial
                datasets[table.dataset] = load(table.dataset, settings.data_root, accept_unofficial=unofficial)
            data = datasets[table.dataset]
            for key, jobs in [(key, table.jobs(data, *key)) for key in sources]:
                which = [table.recipe, None if key[2] is None else f"seed {key[2]}"]
                name = " ".join([table.dataset, *key[:2], *filter(None, which)])
                with outcome.attempt(name):
                    place += 1
                    source = source_of(data, *key, settings, table.recipe)
                    (work or sweep_source)(f"[{place}/{places}] {name}", source, jobs, table.T, settings, outcome)
    return outcome


def sweep_source(name: str, source: Source, jobs: list[Job], T: tuple[int, ...], settings: Settings, outcome: Outcome):
    images = len(source.data.test) + len(source.data.validation)
    total = images * sum(grid[-1] for job in jobs for grid in runs_of(job.method, sorted(T)))
    _ = source.ann  # what cannot be converted is one reason, not one for each job
    with closing(Bar(name, total)) as bar:
        for job in jobs:
            with outcome.attempt(f"{name} {job.method} {job.options.get('reset', '')}".strip()):
                record = run(job, T, source, settings.runs, bar.update)
                outcome.records.append(record)
                tracking.log_record(record, settings.runs, settings.wandb)


@contextmanager
def cpu_threads(n: int | None) -> Iterator[None]:
    """n threads inside, as many as before afterwards; None leaves them alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def source_of(
    data: Data, network: str, activation: str, seed: int | None, settings: Settings, recipe: str | None = None
) -> Source:
    """The trained source: from the cache, resumed, or trained, once it is sure that it can be converted.

    `recipe` by name, else that of dataset and network. Without a seed: the imported weights of `recipe`.
    """
    if seed is None:
        weights = imports.find(settings.runs, data.name, network, activation, recipe)
        return Source(data, weights, training.accelerator(settings.device))
    about = training.describe(data, network, activation, seed, recipe)
    if not training.weights_file(data, network, activation, seed, settings.runs, recipe).exists():
        prepare(training.untrained(about, seed), next(data.validation.batches(1))[0])
    weights = training.train(
        data,
        network,
        activation,
        seed,
        settings.runs,
        recipe=recipe,
        device=settings.device,
        logger=lambda info: tracking.training_logger(info, settings.runs, settings.wandb),
    )
    return Source(data, weights, training.accelerator(settings.device))
