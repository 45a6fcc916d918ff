"""Records -> rows: what is averaged over what. Shares are exact fractions, so that ties and bounds are exact too."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import sqrt
from statistics import mean, stdev
from typing import TypeVar

from ann2snn.data.catalog import DATASETS
from ann2snn.experiments.presets import CLASSIC_METHODS
from ann2snn.metrics.significance import holm, mcnemar_exact
from ann2snn.records.job import Job, label, recipe_name
from ann2snn.records.packing import unpack

TOLERANCE = Fraction(1, 100)  # "within 1 point of the ANN"
Number = TypeVar("Number")
MAX_SUMMARY_METHODS = 5  # with more, short tables and figures show the classic methods alone
REF_T = 16  # rows are ordered and compared by their accuracy at this T
CODE = "deng_code"  # the conventions of released code, one at a time: no method of its own
DEFAULT_PROTOCOL = {
    "calibration": 1024,
    "calibration_transform": "none",
    "readout": "accumulated",
    "precision": "float32",
}
DISTINGUISHING_FIELDS = ("recipe", "method_version", *DEFAULT_PROTOCOL, "data_hash")


@dataclass(frozen=True)
class Estimate:
    """Over n independently trained sources: mean and sample standard deviation (None for n = 1)."""

    mean: Fraction
    std: float | None
    n: int


def ann(record: dict, split: str = "test") -> Fraction | None:
    """Accuracy of the ANN."""
    return _share(record["ann"], split)


def snn(record: dict, T: int, split: str = "test") -> Fraction | None:
    """Accuracy of the SNN at T steps; None if it was not measured."""
    return _share(record["T"][str(T)], split) if str(T) in record["T"] else None


def _share(results: dict, split: str) -> Fraction | None:
    """None without images: there is no validation of imported weights."""
    return Fraction(results[split]["correct"], results[split]["n"]) if results[split]["n"] else None


class Row:
    """The records that differ in their seeds only. Calibration seeds are averaged within each trained source."""

    def __init__(self, records: list[dict], relu: dict):
        self.records, self.relu = records, relu
        self.job = Job(**records[0]["job"])  # its two seeds are one of many
        self.official = all(record["data"]["official"] for record in records)
        self.n = len({record["job"]["seed"] for record in records})
        self.n_test = records[0]["data"]["n"]["test"]
        self.warmup = self.job.options.get("warmup", 0)  # steps in which nothing is read
        self.T = sorted({int(T) for record in records for T in record["T"]})

    @property
    def is_default_protocol(self) -> bool:
        """Whether calibration, read-out and precision are the defaults."""
        defaults = all(getattr(self.job, name) == value for name, value in DEFAULT_PROTOCOL.items())
        return defaults and self.job.method != CODE

    @property
    def first_draw(self) -> "Row | None":
        """The same with calibration seed 0 only."""
        first = [record for record in self.records if record["job"]["calibration_seed"] == 0]
        return Row(first, self.relu) if first else None

    def over_seeds(self, value: Callable[[dict], Fraction | None]) -> Estimate | None:
        """The estimate of any number of a record; None where no record has it."""
        sources = defaultdict(list)
        for record in self.records:
            if (x := value(record)) is not None:
                sources[record["job"]["seed"]].append(x)
        means = [mean(values) for values in sources.values()]
        return Estimate(mean(means), stdev(means) if len(means) > 1 else None, len(means)) if means else None

    @cached_property
    def ann(self) -> Estimate:
        return require(self.over_seeds(ann))

    def accuracy(self, T: int, split: str = "test") -> Estimate | None:
        return self.over_seeds(lambda r: snn(r, T, split))

    def loss(self, T: int) -> Estimate | None:
        """ANN - SNN of the same weights."""
        return self.over_seeds(lambda r: _less(ann(r), snn(r, T)))

    def distance(self, T: int) -> Estimate | None:
        """The ReLU ANN of the same recipe and seed - SNN."""
        return self.over_seeds(lambda r: _less(self.relu.get(_twin(r)), snn(r, T)))

    def per_image(self, T: int, what: str) -> Estimate | None:
        """`what` = "spikes" or "operations", over all layers and steps 1..T, per test image."""
        return self.over_seeds(
            lambda r: Fraction(sum(r["T"][str(T)][what].values()), self.n_test) if str(T) in r["T"] else None
        )

    def per_mac(self, T: int) -> Fraction | None:
        """Mean number of synaptic operations per multiply-accumulate of the same layers in the ANN.

        Layers that read the image are not counted.
        """
        network, total = self.records[0]["network"], self.per_image(T, "operations")
        macs = sum(n for layer, n in network["macs"].items() if layer not in network["analog"])
        return total.mean / macs if total and macs else None

    def one(self, T: int, what: str):
        """`what` of any record at this T: "latency"; None where no record says it."""
        return next((r["T"][str(T)][what] for r in self.records if what in r["T"].get(str(T), {})), None)

    def sampling_error(self, T: int) -> float | None:
        """Standard error of the accuracy from drawing the test images: sqrt(p (1 - p) / images)."""
        cell = self.accuracy(T)
        return sqrt(cell.mean * (1 - cell.mean) / self.n_test) if cell else None

    @property
    def ann_on_validation(self) -> Estimate | None:
        """None for imported weights: they have seen the validation images."""
        return self.over_seeds(lambda r: ann(r, "validation"))

    @cached_property
    def smallest_T(self) -> int | None:
        """The first T whose validation accuracy is within 1 point of the ANN's; None: never, or no validation."""
        if (target := self.ann_on_validation) is None:
            return None
        cells = ((T, require(self.accuracy(T, "validation"))) for T in self.T)
        return next((T for T, cell in cells if cell.n == self.n and target.mean - cell.mean <= TOLERANCE), None)


def require(number: Number | None) -> Number:
    """A number that must be there."""
    assert number is not None
    return number


def _less(a: Fraction | None, b: Fraction | None) -> Fraction | None:
    return None if a is None or b is None else a - b


def _twin(record: dict) -> tuple:
    """What a source shares with the ReLU ANN of the same recipe and seed."""
    return tuple(record["job"][name] for name in ("dataset", "data_hash", "network", "recipe", "seed"))


@dataclass(frozen=True)
class Section:
    """All rows of one dataset and network, best at T = 16 first."""

    dataset: str
    network: str
    rows: list[Row]

    @cached_property
    def default_rows(self) -> list[Row]:
        """Rows of the default protocol on sources with ReLU or the threshold of the dataset, ReLU last.

        All rows where there are none of these.
        """
        info = DATASETS.get(self.dataset)
        activations = ("relu", f"threshold_relu:{info.y_th}") if info else {row.job.activation for row in self.rows}
        rows = [row for row in self.rows if row.is_default_protocol and row.job.activation in activations] or self.rows
        return sorted(rows, key=lambda row: (row.job.activation == "relu", self.source(row)))

    @cached_property
    def first_draws(self) -> list[Row]:
        """The rows, with calibration seed 0 only."""
        return sorted((first for row in self.rows if (first := row.first_draw)), key=rank)

    @property
    def summary_rows(self) -> list[Row]:
        """What short tables and figures show: `default_rows`, of many methods the classic ones alone."""
        if len({row.job.method for row in self.default_rows}) <= MAX_SUMMARY_METHODS:
            return self.default_rows
        return [row for row in self.default_rows if row.job.method in CLASSIC_METHODS] or self.default_rows

    @cached_property
    def varies(self) -> list[str]:
        return [name for name in DISTINGUISHING_FIELDS if len({getattr(row.job, name) for row in self.rows}) > 1]

    def recipe(self, row: Row) -> str:
        """By its name, and by its hash too where several have that name."""
        recipes = {row.job.recipe for row in self.rows}
        clear = len({recipe_name(recipe) for recipe in recipes}) == len(recipes)
        return recipe_name(row.job.recipe) if clear else row.job.recipe

    def source(self, row: Row) -> str:
        """`relu`; where the section has sources of several recipes, `relu, akamaster`."""
        return f"{row.job.activation}, {self.recipe(row)}" if "recipe" in self.varies else row.job.activation

    def method(self, row: Row, without: str = "") -> str:
        """Label of a row, such as `robust_norm quantile=0.99 calibration=128`.

        Args:
            row: The row.
            without: An option that is shown elsewhere.
        """
        options = {name: value for name, value in row.job.options.items() if name != without}
        values = {name: getattr(row.job, name) for name in self.varies if name != "recipe"}
        others = (f"{name}={str(value)[:24]}" for name, value in values.items() if value != DEFAULT_PROTOCOL.get(name))
        return " ".join([label(row.job.method, options), *others])


def sections(records: list[dict]) -> list[Section]:
    """The records as sections, one per dataset and network."""
    relu = {_twin(record): ann(record) for record in records if record["job"]["activation"] == "relu"}
    places = defaultdict(lambda: defaultdict(list))
    for record in records:
        job = Job(**record["job"])
        places[job.dataset, job.network][job.row].append(record)
    return [
        Section(dataset, network, sorted((Row(group, relu) for group in rows.values()), key=rank))
        for (dataset, network), rows in sorted(places.items())
    ]


def rank(row: Row) -> tuple:
    """Best at T = 16 first."""
    cell = row.accuracy(REF_T)
    return (-cell.mean if cell else 1, row.job.row)


@dataclass(frozen=True)
class Step:
    """One adjacent pair of T's of one record. `p` is adjusted over all pairs of the leaderboard."""

    record: dict
    T: tuple[int, int]
    lost: int  # images that only the smaller T has right
    won: int
    p: float


def steps(records: list[dict]) -> list[Step]:
    """Every adjacent-T pair of every record: exact McNemar on the same test images, Holm over all of them."""
    found = []
    for record in records:
        labels = unpack(record["labels"])
        right = [(int(T), unpack(cell["test"]["predictions"]) == labels) for T, cell in record["T"].items()]
        right.sort(key=lambda pair: pair[0])
        for (T, before), (later, after) in pairwise(right):
            found.append(Step(record, (T, later), *mcnemar_exact(before.tolist(), after.tolist())))
    adjusted = holm([step.p for step in found])
    return [Step(step.record, step.T, step.lost, step.won, p) for step, p in zip(found, adjusted, strict=True)]
