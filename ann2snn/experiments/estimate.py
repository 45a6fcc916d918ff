"""What jobs take, from what the committed records took; by multiply-accumulates where none is of the same network."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import log, log2
from statistics import mean

import torch

from ann2snn.data.catalog import DATASETS
from ann2snn.data.registry import load
from ann2snn.data.split import Data
from ann2snn.errors import UserError
from ann2snn.experiments.run_job import readable
from ann2snn.experiments.sweep import Settings, Sweep
from ann2snn.methods.registry import find
from ann2snn.metrics.operations import macs_of
from ann2snn.networks.registry import create
from ann2snn.records import provenance, store
from ann2snn.records.job import recipe_name
from ann2snn.training import checkpoints, pretrained, recipes
from ann2snn.training.recipes import Recipe

MEASURED, EXTRAPOLATED, UNKNOWN = range(3)


@functools.cache
def size_of(dataset: str, network: str) -> tuple[int, int] | None:
    """Multiply-accumulates of an image, and parameters: counted without weights. None where that cannot be done."""
    layers = macs_of(dataset, network)
    if layers is None:
        return None
    classes, shape, *_ = DATASETS[dataset]
    with torch.device("meta"):
        net = create(network, num_classes=classes, in_chans=shape[0])
    return sum(macs for macs, _ in layers.values()), sum(p.numel() for p in net.parameters())


def trainings(dataset: str, network: str, activation: str, recipe: str | None) -> Iterator[tuple[str, str, Recipe]]:
    """(network, activation, recipe) of a source, then of the one that its training starts from, and so on."""
    plan = recipes.recipe_of(dataset, network, recipe)
    yield network, activation, plan
    if start := plan.start:
        yield from trainings(dataset, start.network.format(network), start.activation or activation, start.recipe)


def training_work(dataset: str, network: str, plan: Recipe) -> int:
    """Epochs x images x multiply-accumulates; 0 where they are unknown."""
    macs, _ = size_of(dataset, network) or (0, 0)
    return macs and plan.epochs * DATASETS[dataset].images[0] * macs


def simulation_work(part: Sweep, method: str) -> int:
    """Image-steps x multiply-accumulates of a job of one source; 0 where they are unknown."""
    macs, _ = size_of(part.dataset, part.networks[0]) or (0, 0)
    steps = sum(part.T) if find(method).depends_on_T else max(part.T)
    return macs and steps * _images(part.dataset, part.seeds[0]) * macs


def _images(dataset: str, seed: int | None) -> int:
    """That are simulated: imported weights have no validation."""
    _, validation, test = DATASETS[dataset].images
    return test + (0 if seed is None else validation)


@dataclass(frozen=True)
class Need:
    """What jobs take that are not done yet."""

    jobs: int = 0
    done: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    certainty: int = MEASURED  # of the least certain job

    def __add__(self, other: "Need") -> "Need":
        return Need(
            self.jobs + other.jobs,
            self.done + other.done,
            self.seconds + other.seconds,
            self.bytes + other.bytes,
            max(self.certainty, other.certainty),
        )

    @property
    def time(self) -> str:
        return "not measured" if self.certainty == UNKNOWN else self.mark + clock(self.seconds)

    @property
    def disk(self) -> str:
        return "-" if self.certainty == UNKNOWN else self.mark + size(self.bytes)

    @property
    def mark(self) -> str:
        return "~" if self.certainty == EXTRAPOLATED else ""


@dataclass
class Rate:
    """Seconds per unit of work on one network, from its records; and by method, also those of a conversion."""

    macs: int
    training: list[float] = field(default_factory=list)
    simulation: list[float] = field(default_factory=list)
    methods: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


class Estimates:
    """Of parts of one source each. What is in the runs folder is done; what the jobs lack is listed in `lacking`."""

    def __init__(self, known: list[dict], settings: Settings):
        gpu = settings.device.startswith("cuda") or (settings.device == "auto" and torch.cuda.is_available())
        self.device = "cuda" if gpu else "cpu"
        alike = [r for r in known if r["provenance"]["device"].startswith(self.device)]
        self.known, self.settings = alike or known, settings
        self.lacking: list[str] = []
        self._loaded: dict[str, Data | None] = {}
        self.rates: dict[tuple[str, str], Rate] = {}
        for record in self.known:
            job, macs = record["job"], sum(record["network"]["macs"].values())
            rate = self.rates.setdefault((job["dataset"], job["network"]), Rate(macs))
            plan = recipes.RECIPES.get(recipe_name(job["recipe"]))
            if plan and plan.key == job["recipe"] and (seconds := record["source"]["training_seconds"]):
                rate.training.append(seconds / (plan.epochs * record["data"]["n"]["train"] * macs))
            T = max(record["T"], key=int)
            rate.simulation.append(record["T"][T]["seconds"] / (int(T) * record["data"]["n"]["test"] * macs))
            conversion = mean(cell.get("conversion_seconds", 0.0) for cell in record["T"].values())
            rate.methods.setdefault(job["method"], []).append((rate.simulation[-1], conversion))

    @functools.cached_property
    def machines(self) -> list[str]:
        places = [r["provenance"] for r in self.known]
        return sorted({p["cpu"] + f", {p['threads']} threads" if p["device"] == "cpu" else p["device"] for p in places})

    def need(self, parts: Iterable[Sweep]) -> Need:
        """Together; what several parts share is trained once."""
        seen: set = set()
        return sum((self._simulations(part) + self._trainings(part, seen) for part in parts), Need())

    def finished(self, part: Sweep) -> list[dict | None]:
        """The record of every job where it is there at all T and was made here, else None."""
        missing: list[dict | None] = [None for _ in part.methods for _ in part.calibration_seeds]
        if (data := self._data(part.dataset)) is None:
            return missing
        (source,) = part.sources()
        try:
            jobs = part.jobs(data, *source)
        except UserError as error:
            self._lacks(f"{part.id}: {error}")
            return missing
        found = (store.load_whole(job.path(self.settings.runs)) for job in jobs)
        wanted = ({str(t) for t in readable(job, part.T)} for job in jobs)
        place = self.device, part.threads or torch.get_num_threads()
        pairs = zip(found, wanted, strict=True)
        return [r if r and self._would_stay(r, *place) and T <= r["T"].keys() else None for r, T in pairs]

    def _would_stay(self, record: dict, device: str, threads: int) -> bool:
        same = record["provenance"].get("method_code") == find(record["job"]["method"]).source_hash
        return same and provenance.made_here(record, device, threads)

    def _simulations(self, part: Sweep) -> Need:
        dataset, network, T = part.dataset, part.networks[0], len(part.T)
        known = DATASETS.get(dataset)
        classes, images = (known.classes, known.images[2]) if known else (1, 0)
        methods = [method for method, _ in part.methods for _ in part.calibration_seeds]
        total = Need()
        for method, record in zip(methods, self.finished(part), strict=True):
            if record:
                total += Need(1, 1)
            else:
                seconds, certainty = self._seconds("simulation", dataset, network, simulation_work(part, method))
                if certainty == MEASURED and (rates := self.rates[dataset, network].methods.get(method)):
                    simulation, conversion = map(mean, zip(*rates, strict=True))
                    runs = T if find(method).depends_on_T else 1
                    seconds = simulation_work(part, method) * simulation + runs * conversion
                packed = (T + 2) * images * log2(classes) / 6  # predictions and labels in base64
                total += Need(1, 0, seconds, packed + (T + 1) * 700, certainty)
        return total

    def _trainings(self, part: Sweep, seen: set) -> Need:
        (network, activation, seed), total = next(part.sources()), Need()
        data = self._data(part.dataset)
        if seed is None:
            try:
                pretrained.find(self.settings.runs, part.dataset, network, activation, part.recipe)
            except UserError as error:
                self._lacks(f"{part.id}: {error}")
            return total
        for net, act, plan in trainings(part.dataset, network, activation, part.recipe):
            source = part.dataset, net, act, plan.key, seed
            if source in seen or (data and self._is_trained(data, net, act, seed, plan)):
                break
            seen.add(source)
            seconds, certainty = self._seconds("training", part.dataset, net, training_work(part.dataset, net, plan))
            _, parameters = size_of(part.dataset, net) or (0, 0)
            total += Need(0, 0, seconds, parameters * (2 if plan.half else 4), certainty)
        return total

    def _is_trained(self, data: Data, network: str, activation: str, seed: int, plan: Recipe) -> bool:
        return checkpoints.weights_file(data, network, activation, seed, self.settings.runs, plan.name).exists()

    def _seconds(self, kind: str, dataset: str, network: str, work: int) -> tuple[float, int]:
        """As measured on this network, else on the one whose number of multiply-accumulates is nearest."""
        rates = {key: rate for key, rate in self.rates.items() if getattr(rate, kind)}
        if not (work and rates):
            return 0.0, UNKNOWN
        macs, _ = size_of(dataset, network) or (0, 0)
        key = (dataset, network)
        if key not in rates:
            key = min(rates, key=lambda key: abs(log(rates[key].macs / macs)))
        certainty = MEASURED if key == (dataset, network) else EXTRAPOLATED
        return work * mean(getattr(rates[key], kind)), certainty

    def _data(self, name: str) -> Data | None:
        if name not in self._loaded:
            try:
                place, unofficial = self.settings.data_root, self.settings.accept_unofficial
                self._loaded[name] = load(name, place, accept_unofficial=unofficial)
            except UserError as error:
                self._loaded[name] = None
                self._lacks(str(error))
        return self._loaded[name]

    def _lacks(self, sentence: str) -> None:
        if sentence not in self.lacking:
            self.lacking.append(sentence)


def clock(seconds: float) -> str:
    """Two or three digits with a unit."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h" if hours < 1000 else f"{hours / 24:.0f} d"


def size(count: float) -> str:
    """The same of so many bytes."""
    mega = count / 1e6
    return f"{mega:.1f} MB" if mega < 10 else f"{mega:.0f} MB" if mega < 10_000 else f"{mega / 1000:.0f} GB"
