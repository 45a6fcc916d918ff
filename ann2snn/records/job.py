"""Job: everything that a result depends on, except the number of time steps T."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ann2snn.files import slug

PROTOCOL = 1  # raised when the meaning of any number in a record changes


@dataclass(frozen=True)
class Job:
    """Everything that a result depends on, except the number of time steps T."""

    dataset: str
    data_hash: str
    network: str
    activation: str  # activation spec, such as "relu" or "threshold_relu:1"
    recipe: str  # "<name>-<hash8>"
    seed: int | None  # training seed; None for imported weights
    method: str
    method_version: int
    options: dict = field(default_factory=dict)  # of the method, such as {"reset": "soft"}
    calibration: int = 0  # number of images
    calibration_seed: int = 0
    calibration_transform: str = "none"
    readout: str = "accumulated"
    precision: str = "float32"
    protocol: int = PROTOCOL

    @property
    def id(self) -> str:
        """Hash of all fields, 12 hexadecimal digits."""
        return _hash(asdict(self))

    @property
    def source_id(self) -> str:
        """Hash of the fields of the source ANN, 12 hexadecimal digits."""
        return _hash({name: getattr(self, name) for name in SOURCE_FIELDS})

    @property
    def row(self) -> str:
        """Key of the leaderboard row: jobs that differ only in their seeds share it."""
        return _canonical({k: v for k, v in asdict(self).items() if k not in ("seed", "calibration_seed")})

    @property
    def label(self) -> str:
        """The method and its options, as tables, figures and messages show them."""
        return label(self.method, self.options)

    @property
    def source_name(self) -> str:
        """Path of the source ANN below its dataset: `network/activation/seed<k>`."""
        seed = "imported" if self.seed is None else f"seed{self.seed}"
        return f"{slug(self.network)}/{slug(self.activation)}/{seed}"

    def path(self, root: Path | str) -> Path:
        """Path of the record below the folder of all results."""
        options = [slug(self.options[name]) for name in sorted(self.options)]
        name = "-".join([slug(self.method), *options, self.id[:8]])
        return Path(root) / "records" / slug(self.dataset) / self.source_name / f"{name}.json"


SOURCE_FIELDS = ("dataset", "data_hash", "network", "activation", "recipe", "seed")


def label(method: str, options: dict) -> str:
    """The method and the options that differ from their defaults, such as `channel_norm quantile=0.999 start=0.5`.

    Options are in the order of the method's signature. For an unknown method all options are shown, sorted by name.
    """
    from ann2snn.methods.registry import METHODS, discover  # imports torch

    registered = METHODS.get(method) or discover().get(method)
    defaults = registered.options if registered else {}
    names = [name for name in defaults if name in options and options[name] != defaults[name]]
    return " ".join([method, *(f"{name}={options[name]}" for name in [*names, *sorted(options.keys() - defaults)])])


def recipe_name(key: str) -> str:
    """Name of a recipe from its key: `cifar-0123abcd` -> `cifar`."""
    return key.rpartition("-")[0]


def _canonical(value) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hash(value) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:12]
