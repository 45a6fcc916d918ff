"""The registry of conversion methods."""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx

from ann2snn.calibration.images import full_precision
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.neurons import RESETS
from ann2snn.conversion.surgery import silence
from ann2snn.conversion.time_steps import steps
from ann2snn.errors import UserError, unknown
from ann2snn.graph.network import activations
from ann2snn.methods.options import annotations, checked
from ann2snn.methods.source_hash import source_hash

ARGUMENTS = ("T", "images", "generator")  # that a method can take besides the network and its statistics

METHODS: dict[str, "Method"] = {}


@dataclass(frozen=True)
class Method:
    """A conversion method.

    The signature of its function says what it depends on. A network of `f(ann, stats)` serves every T. `f(ann, stats,
    T)` converts for one T. Further parameters are `images`, the calibration images (N, C, H, W), and `generator`, a
    `torch.Generator` for methods that draw random numbers. Keyword-only parameters are options; `options.py` checks
    their values by their annotations or the types of their defaults. The option `warmup` is a number of steps before
    the read-out begins; they count as steps of the simulation.

    Attributes:
        name: Name of the function.
        function: The function, which returns the spiking network.
        paper: Key of its paper, such as "deng2021".
        source_activation: Activation of the source networks in its paper, such as "relu" or "qcfs".
        required_activation: Activation of the only networks that it converts; None for all networks.
        version: Version of its numbers.
    """

    name: str
    function: Callable[..., fx.GraphModule]
    paper: str
    source_activation: str
    required_activation: str | None
    version: int

    @property
    def needs(self) -> list[str]:
        """Names of the arguments besides the network and its statistics."""
        parameters = inspect.signature(self.function).parameters.values()
        return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][2:]

    @property
    def depends_on_T(self) -> bool:
        """Whether it converts for one T."""
        return "T" in self.needs

    @property
    def source_hash(self) -> str:
        """Hash of the method's code and of the method files that it imports, see `methods/source_hash.py`."""
        return source_hash(self._file)

    @property
    def _file(self) -> str:
        return inspect.getsourcefile(self.function) or ""

    @property
    def is_plugin(self) -> bool:
        """Whether its file is outside the suite."""
        return not self.function.__module__.startswith("ann2snn.")

    @property
    def is_stochastic(self) -> bool:
        """Whether its network depends on a seed."""
        return "generator" in self.needs

    def applies(self, activation: str) -> bool:
        """Whether it converts networks with an activation, such as `threshold_relu:1`."""
        return self.required_activation is None or activation.partition(":")[0] == self.required_activation

    @property
    def options(self) -> dict[str, Any]:
        """Defaults of the options by name; a reset rule is given by its name."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: _named(p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}

    def check(self, options: dict[str, Any]) -> dict[str, Any]:
        """All options: the given ones, and the defaults of the others.

        Raises:
            UserError: The method has no such option, or the value is not valid.
        """
        unknown = [name for name in options if name not in self.options]
        if unknown:
            names = ", ".join(self.options) or "none"
            raise UserError(f"{self.name} has no option {unknown[0]!r}; it has: {names}.")
        values = self.options | {name: _named(value) for name, value in options.items()}
        hints = annotations(self.function)
        options = {
            name: checked(f"The option {name} of {self.name}", values[name], default, hints.get(name))
            for name, default in self.options.items()
        }
        if "reset" in options and not callable(options["reset"]) and options["reset"] not in RESETS:
            raise UserError(f"No reset rule is called {options['reset']!r}; known are {' and '.join(RESETS)}.")
        return options

    def __call__(
        self, ann: fx.GraphModule, stats: Statistics, T: int | None = None, *, seed: int = 0, **options
    ) -> fx.GraphModule:
        """Convert a network; see `convert`."""
        options = self.check(options)
        if "reset" in options:
            options["reset"] = RESETS.get(options["reset"], options["reset"])
        T = None if T is None else steps(T)
        if self.depends_on_T and T is None:
            raise UserError(f"{self.name} converts for a given number of steps: pass T, such as convert(..., T=16).")
        if T is not None and (warmup := options.get("warmup", 0)) >= T:
            raise UserError(f"{self.name} reads nothing in its first {warmup} steps: pass a T of {warmup + 1} or more.")
        layers = activations(ann)
        if not layers:
            raise UserError("This network has no activation left: pass the one that prepare made, not a converted one.")
        if not all(self.applies(activation.kind) for activation in layers.values()):
            raise UserError(
                f"{self.name} converts networks trained with {self.required_activation}, not this one: train it so, or"
                " take another method."
            )
        arguments = {"T": lambda: T, "images": stats.images, "generator": lambda: torch.Generator().manual_seed(seed)}
        with self.errors(), full_precision(ann):
            snn = self.function(ann, stats, *(arguments[name]() for name in self.needs), **options)
        if not isinstance(snn, fx.GraphModule) or activations(snn):
            result = "a network with activations" if isinstance(snn, fx.GraphModule) else type(snn).__name__
            raise UserError(f"{self.name} returned {result}: return the network that replace_activations made.")
        silence(snn)
        facts = {"method": self.name, "version": self.version, "options": {n: _named(v) for n, v in options.items()}}
        snn.meta |= facts | {"T": T, "depends_on_T": self.depends_on_T, "warmup": options.get("warmup", 0)}
        return snn

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Context in which exceptions of a plug-in's code become a UserError that names its file and line."""
        try:
            yield
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            if not self.is_plugin:
                raise
            raise UserError(f"{self.name} failed{_line_in(self._file, error)}: {_summary(error)}.") from error


def _named(value):
    return next((name for name, reset in RESETS.items() if reset is value), value)


def method(*, paper: str, source_activation: str = "relu", required_activation: str | None = None, version: int = 1):
    """Decorator that registers a conversion method under the name of its function.

    Args:
        paper: Key of its paper, such as "deng2021".
        source_activation: Activation of the source networks in its paper.
        required_activation: Activation of the only networks that it converts, such as "qcfs"; None for all networks.
        version: Version of its numbers. Increase it whenever they change.

    Raises:
        UserError: Another method has the same name, or the function has a parameter that no method can have.
    """

    def register(function):
        name = function.__name__
        _check_signature(function)
        if name in METHODS and METHODS[name].function.__module__ != function.__module__:
            raise UserError(f"Two methods are called {name!r}: rename the one in {inspect.getsourcefile(function)}.")
        METHODS[name] = Method(name, function, paper, source_activation, required_activation, version)
        return function

    return register


def _check_signature(function: Callable) -> None:
    """UserError for parameters that no method can have."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wrong = [name for name in positional[2:] if name not in ARGUMENTS]
    wrong += [p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    wrong += [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if wrong or len(positional) < 2:
        what = (
            f"no method can have the parameter {wrong[0]!r}" if wrong else "a method takes the ANN and its statistics"
        )
        raise UserError(
            f"{function.__name__}{inspect.signature(function)}: {what}; write def {function.__name__}(ann, stats), then"
            f" any of {', '.join(ARGUMENTS)}, then * and the options with their defaults."
        )


def find(name: str) -> Method:
    """The method of a name: `optimal`, one of `baselines/`, or one of a loaded plug-in.

    Raises:
        UserError: No method has this name.
    """
    if name not in METHODS:
        discover()
    if name not in METHODS:
        raise unknown("method", name, sorted(METHODS))
    return METHODS[name]


def discover() -> dict[str, Method]:
    """All methods by name, after importing those of this package and every file of `baselines/`."""
    import ann2snn.baselines  # type: ignore

    for name in ("optimal", "closed_loop"):
        importlib.import_module(f"ann2snn.methods.{name}")
    for module in pkgutil.iter_modules(ann2snn.baselines.__path__):
        importlib.import_module(f"ann2snn.baselines.{module.name}")
    return METHODS


def load_plugin(file: str | Path) -> None:
    """Import a method file from outside the suite.

    Raises:
        UserError: The file is absent, cannot be imported, or registers no method.
    """
    path = Path(file)
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"The plug-in {file} is not a Python file; name one that registers a method with @method.")
    spec = importlib.util.spec_from_file_location(f"ann2snn_plugin_{path.stem}", path)
    assert spec and spec.loader  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    before = dict(discover())
    sys.modules[spec.name] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # never from a stale bytecode cache
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        where = _line_in(str(path), error)
        raise UserError(f"The plug-in {file} cannot be imported{where}: {_summary(error)}.") from error
    if before == METHODS:
        raise UserError(f"The plug-in {file} registers no method: decorate a function with @ann2snn.method(paper=...).")


def _line_in(file: str, error: BaseException) -> str:
    """The line of a file that raised an error, in brackets."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({Path(file).name}, line {lines[-1]})" if lines else ""


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")
