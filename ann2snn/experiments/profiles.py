"""The profiles of `./reproduce.sh`: a profile is a file of `benchmarks/profiles/` that declares `TABLES`."""

import importlib
import pkgutil

from ann2snn.errors import UserError, unknown
from ann2snn.experiments.sweep import Sweep

PACKAGE = "ann2snn.benchmarks.profiles"
PROFILES: dict[str, tuple[Sweep, ...]] = {}  # those that were loaded, by name


def names() -> list[str]:
    """The names of all profiles, sorted: those of the files in `benchmarks/profiles/`."""
    package = importlib.import_module(PACKAGE)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find(name: str) -> tuple[Sweep, ...]:
    """The tables of a profile.

    Raises:
        UserError: There is no profile of this name, or its file declares no tables.
    """
    if name not in PROFILES:
        if name not in (known := names()):
            raise unknown("profile", name, known)
        module = importlib.import_module(f"{PACKAGE}.{name}")
        tables = getattr(module, "TABLES", ())
        if not tables or not all(isinstance(table, Sweep) for table in tables):
            raise UserError(f"The profile {name} declares no tables: write TABLES = (Sweep(...), ...) in its file.")
        PROFILES[name] = tuple(tables)
    return PROFILES[name]


def discover() -> dict[str, tuple[Sweep, ...]]:
    """The tables of all profiles, by name."""
    return {name: find(name) for name in names()}
