"""Estimates of the time and disk space of jobs, from the committed records.

If no record is of the same network, the estimate is scaled by multiply-accumulates from the most similar network.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log, log2
from statistics import mean

import torch

from ann2snn.data.catalog import DATASETS
from ann2snn.data.registry import load
from ann2snn.data.split import ImageDataset
from ann2snn.errors import UserError
from ann2snn.experiments.run_job import readout_steps
from ann2snn.experiments.sweep import Settings, Sweep
from ann2snn.methods.registry import find
from ann2snn.metrics.operations import macs_of
from ann2snn.networks.registry import create
from ann2snn.records import provenance, store
from ann2snn.records.job import Job, recipe_name
from ann2snn.records.schema import Record
from ann2snn.training import checkpoints, pretrained, recipes
from ann2snn.training.recipes import Recipe

MEASURED, EXTRAPOLATED, UNKNOWN = range(3)  # certainty of an estimate


@functools.cache
def network_size(dataset: str, network: str) -> tuple[int, int] | None:
    """Multiply-accumulates per image and number of parameters, counted without allocating weights.

    Returns:
        None for unknown names and networks that cannot be converted.
    """
    layers = macs_of(dataset, network)
    if layers is None:
        return None
    classes, shape, *_ = DATASETS[dataset]
    with torch.device("meta"):
        net = create(network, num_classes=classes, in_chans=shape[0])
    return sum(macs for macs, _ in layers.values()), sum(p.numel() for p in net.parameters())


def training_chain(
    dataset: str, network: str, activation: str, recipe: str | None
) -> Iterator[tuple[str, str, Recipe]]:
    """(network, activation, recipe) of a source, then of the source that its training starts from, and so on."""
    plan = recipes.recipe_of(dataset, network, recipe)
    yield network, activation, plan
    if start := plan.start:
        yield from training_chain(dataset, start.network.format(network), start.activation or activation, start.recipe)


def training_work(dataset: str, network: str, plan: Recipe) -> int:
    """Work of a training: epochs x images x multiply-accumulates; 0 if they are unknown."""
    macs, _ = network_size(dataset, network) or (0, 0)
    return macs and plan.epochs * DATASETS[dataset].images[0] * macs


def simulation_work(part: Sweep, method: str) -> int:
    """Work of a job of one source: image-steps x multiply-accumulates; 0 if they are unknown."""
    macs, _ = network_size(part.dataset, part.networks[0]) or (0, 0)
    steps = sum(part.T) if find(method).depends_on_T else max(part.T)
    return macs and steps * _simulated_images(part.dataset, part.seeds[0]) * macs


def _simulated_images(dataset: str, seed: int | None) -> int:
    """Number of test and validation images. Imported weights have no validation images."""
    _, validation, test = DATASETS[dataset].images
    return test + (0 if seed is None else validation)


@dataclass(frozen=True)
class ResourceEstimate:
    """Time and disk space that the unfinished ones of some jobs take."""

    jobs: int = 0
    done: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    certainty: int = MEASURED  # of the least certain job

    def __add__(self, other: "ResourceEstimate") -> "ResourceEstimate":
        return ResourceEstimate(
            self.jobs + other.jobs,
            self.done + other.done,
            self.seconds + other.seconds,
            self.bytes + other.bytes,
            max(self.certainty, other.certainty),
        )

    @property
    def time(self) -> str:
        """The time with a unit."""
        return "not measured" if self.certainty == UNKNOWN else self.mark + format_duration(self.seconds)

    @property
    def disk(self) -> str:
        """The disk space with a unit."""
        return "-" if self.certainty == UNKNOWN else self.mark + format_bytes(self.bytes)

    @property
    def mark(self) -> str:
        """A tilde before values that are extrapolated."""
        return "~" if self.certainty == EXTRAPOLATED else ""


@dataclass
class Throughput:
    """Speed of one network in its records, in seconds per unit of work."""

    macs: int  # multiply-accumulates per image
    training: list[float] = field(default_factory=list)
    simulation: list[float] = field(default_factory=list)
    # by method: (seconds of the simulation per unit of work, seconds of a conversion)
    methods: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


class Estimator:
    """Estimates the resources of sweeps of one source each.

    Jobs whose results are in the runs folder are done. `missing` collects sentences about what the jobs need and is not
    on this machine.

    Args:
        records: Records that times are taken from, those of the same kind of device if there are any.
        settings: How the jobs will be run.
    """

    def __init__(self, records: Sequence[Record], settings: Settings):
        gpu = settings.device.startswith("cuda") or (settings.device == "auto" and torch.cuda.is_available())
        self.device = "cuda" if gpu else "cpu"
        same_device = [r for r in records if r["provenance"]["device"].startswith(self.device)]
        self.records = same_device or records
        self.settings = settings
        self.missing: list[str] = []
        self.throughputs: dict[tuple[str, str], Throughput] = {}
        self._datasets: dict[str, ImageDataset | None] = {}
        for record in self.records:
            self._add(record)

    def _add(self, record: Record) -> None:
        """Adds the times of a record to the throughput of its network."""
        job, macs = record["job"], sum(record["network"]["macs"].values())
        throughput = self.throughputs.setdefault((job["dataset"], job["network"]), Throughput(macs))
        plan, seconds = recipes.RECIPES.get(recipe_name(job["recipe"])), record["source"]["training_seconds"]
        if plan and plan.key == job["recipe"] and seconds:
            throughput.training.append(seconds / (plan.epochs * record["data"]["n"]["train"] * macs))
        T = max(record["T"], key=int)
        simulation = record["T"][T]["seconds"] / (int(T) * record["data"]["n"]["test"] * macs)
        conversion = mean(results.get("conversion_seconds", 0.0) for results in record["T"].values())
        throughput.simulation.append(simulation)
        throughput.methods.setdefault(job["method"], []).append((simulation, conversion))

    @functools.cached_property
    def machines(self) -> list[str]:
        """The machines that the records were made on."""
        machines = set()
        for record in self.records:
            made = record["provenance"]
            is_cpu = made["device"] == "cpu"
            machines.add(made["cpu"] + f", {made['threads']} threads" if is_cpu else made["device"])
        return sorted(machines)

    def estimate(self, parts: Iterable[Sweep]) -> ResourceEstimate:
        """Resources of sweeps of one source each. A source that several of them share is trained once."""
        counted: set = set()
        return sum((self._simulations(part) + self._trainings(part, counted) for part in parts), ResourceEstimate())

    def finished(self, part: Sweep) -> list[Record | None]:
        """The record of every job; None if it lacks a T, or if a run on this machine would not keep it."""
        unfinished: list[Record | None] = [None for _ in part.methods for _ in part.calibration_seeds]
        data = self._data(part.dataset)
        if data is None:
            return unfinished
        (source,) = part.sources()
        try:
            jobs = part.jobs(data, *source)
        except UserError as error:
            self._report_missing(f"{part.id}: {error}")
            return unfinished
        return [self._finished_record(job, part) for job in jobs]

    def _finished_record(self, job: Job, part: Sweep) -> Record | None:
        record = store.load_or_skip(job.path(self.settings.runs))
        threads = part.threads or torch.get_num_threads()
        if record is None or record["provenance"].get("method_code") != find(job.method).source_hash:
            return None
        is_complete = {str(t) for t in readout_steps(job, part.T)} <= record["T"].keys()
        return record if is_complete and provenance.is_same_environment(record, self.device, threads) else None

    def _simulations(self, part: Sweep) -> ResourceEstimate:
        dataset, network, T = part.dataset, part.networks[0], len(part.T)
        info = DATASETS.get(dataset)
        classes, images = (info.classes, info.images[2]) if info else (1, 0)
        methods = [method for method, _ in part.methods for _ in part.calibration_seeds]
        total = ResourceEstimate()
        for method, record in zip(methods, self.finished(part), strict=True):
            if record:
                total += ResourceEstimate(jobs=1, done=1)
                continue
            work = simulation_work(part, method)
            seconds, certainty = self._seconds("simulation", dataset, network, work)
            if certainty == MEASURED and (times := self.throughputs[dataset, network].methods.get(method)):
                simulation, conversion = map(mean, zip(*times, strict=True))
                conversions = T if find(method).depends_on_T else 1
                seconds = work * simulation + conversions * conversion
            packed = (T + 2) * images * log2(classes) / 6  # predictions and labels in base64
            total += ResourceEstimate(1, 0, seconds, packed + (T + 1) * 700, certainty)
        return total

    def _trainings(self, part: Sweep, counted: set) -> ResourceEstimate:
        (network, activation, seed), total = next(part.sources()), ResourceEstimate()
        data = self._data(part.dataset)
        if seed is None:
            try:
                pretrained.find(self.settings.runs, part.dataset, network, activation, part.recipe)
            except UserError as error:
                self._report_missing(f"{part.id}: {error}")
            return total
        for net, act, plan in training_chain(part.dataset, network, activation, part.recipe):
            source = part.dataset, net, act, plan.key, seed
            if source in counted or (data and self._is_trained(data, net, act, seed, plan)):
                break
            counted.add(source)
            seconds, certainty = self._seconds("training", part.dataset, net, training_work(part.dataset, net, plan))
            _, parameters = network_size(part.dataset, net) or (0, 0)
            total += ResourceEstimate(0, 0, seconds, parameters * (2 if plan.half else 4), certainty)
        return total

    def _is_trained(self, data: ImageDataset, network: str, activation: str, seed: int, plan: Recipe) -> bool:
        return checkpoints.weights_file(data, network, activation, seed, self.settings.runs, plan.name).exists()

    def _seconds(self, kind: str, dataset: str, network: str, work: int) -> tuple[float, int]:
        """Seconds of a "training" or "simulation" and their certainty, from the most similar measured network."""
        measured = {key: getattr(x, kind) for key, x in self.throughputs.items() if getattr(x, kind)}
        if not (work and measured):
            return 0.0, UNKNOWN
        key = (dataset, network)
        if key in measured:
            return work * mean(measured[key]), MEASURED
        macs, _ = network_size(dataset, network) or (0, 0)
        nearest = min(measured, key=lambda key: abs(log(self.throughputs[key].macs / macs)))
        return work * mean(measured[nearest]), EXTRAPOLATED

    def _data(self, name: str) -> ImageDataset | None:
        if name not in self._datasets:
            try:
                self._datasets[name] = load(
                    name, self.settings.data_root, accept_unofficial=self.settings.accept_unofficial
                )
            except UserError as error:
                self._datasets[name] = None
                self._report_missing(str(error))
        return self._datasets[name]

    def _report_missing(self, sentence: str) -> None:
        if sentence not in self.missing:
            self.missing.append(sentence)


def format_duration(seconds: float) -> str:
    """Formats a duration with two or three digits: `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h" if hours < 1000 else f"{hours / 24:.0f} d"


def format_bytes(count: float) -> str:
    """Formats a byte count: `3.2 MB`."""
    megabytes = count / 1e6
    if megabytes < 10:
        return f"{megabytes:.1f} MB"
    return f"{megabytes:.0f} MB" if megabytes < 10_000 else f"{megabytes / 1000:.0f} GB"
