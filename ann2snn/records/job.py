"""Job: everything that a result depends on, without T."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ann2snn.files import slug

PROTOCOL = 1  # raised when the meaning of any number in a record changes


@dataclass(frozen=True)
class Job:
    """Everything a result depends on, without T."""

    dataset: str
    data_hash: str
    network: str
    activation: str  # "relu", "threshold_relu:1"
    recipe: str  # "<name>-<hash8>"
    seed: int | None  # of the training; None for imported weights
    method: str
    method_version: int
    options: dict = field(default_factory=dict)  # {"reset": "soft"}
    calibration: int = 0  # images
    calibration_seed: int = 0
    calibration_transform: str = "none"
    readout: str = "accumulated"
    precision: str = "float32"
    protocol: int = PROTOCOL

    @property
    def id(self) -> str:
        """12 hexadecimal digits that stand for the whole job."""
        return _hash(asdict(self))

    @property
    def source_id(self) -> str:
        """The same for the source ANN alone: the fields from `dataset` to `seed`."""
        return _hash({name: getattr(self, name) for name in SOURCE})

    @property
    def row(self) -> str:
        """The row of the leaderboard: the same for jobs that differ in their seeds only."""
        return _canonical({k: v for k, v in asdict(self).items() if k not in ("seed", "calibration_seed")})

    @property
    def label(self) -> str:
        """The method and its options, as every table, figure and message shows them."""
        return label(self.method, self.options)

    @property
    def source_name(self) -> str:
        """Where the source ANN is kept below its dataset: `network/activation/seed<k>`."""
        seed = "imported" if self.seed is None else f"seed{self.seed}"
        return f"{slug(self.network)}/{slug(self.activation)}/{seed}"

    def path(self, root: Path | str) -> Path:
        options = [slug(self.options[name]) for name in sorted(self.options)]
        name = "-".join([slug(self.method), *options, self.id[:8]])
        return Path(root) / "records" / slug(self.dataset) / self.source_name / f"{name}.json"


SOURCE = ("dataset", "data_hash", "network", "activation", "recipe", "seed")


def label(method: str, options: dict) -> str:
    """`channel_norm quantile=0.999 start=0.5`: the options that are not at their defaults, in the method's order.

    Of a method that is not known here all options, by name.
    """
    from ann2snn.methods.registry import METHODS, discover  # which imports torch

    known = METHODS.get(method) or discover().get(method)
    defaults = known.options if known else {}
    names = [name for name in defaults if name in options and options[name] != defaults[name]]
    return " ".join([method, *(f"{name}={options[name]}" for name in [*names, *sorted(options.keys() - defaults)])])


def recipe_name(key: str) -> str:
    """`cifar-0123abcd` -> `cifar`."""
    return key.rpartition("-")[0]


def _canonical(value) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hash(value) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:12]
