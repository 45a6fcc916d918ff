"""TODO"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ann2snn import devices
from ann2snn.data.augmentations import AUGMENTATIONS
from ann2snn.data.registry import check as check_dataset
from ann2snn.data.registry import load
from ann2snn.data.split import Data
from ann2snn.errors import StorageError, UserError, unknown
from ann2snn.experiments.cpu_threads import cpu_threads
from ann2snn.experiments.run_job import readable, run, runs_of
from ann2snn.experiments.source import Source
from ann2snn.graph.prepare import prepare
from ann2snn.methods.registry import find
from ann2snn.networks import activations
from ann2snn.networks import registry as networks_registry
from ann2snn.progress import Bar
from ann2snn.records.job import Job
from ann2snn.tracking import wandb_runs
from ann2snn.training import checkpoints, pretrained, train
from ann2snn.training.recipes import recipe_of


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

    def check(self) -> None:
        """UserError for a name that does not exist, whether or not it is needed; looks at no data."""
        check_dataset(self.dataset)
        for method, options in self.methods:
            find(method).check(options)
        for network in self.networks:
            networks_registry.check(network)
            if None not in self.seeds:
                recipe_of(self.dataset, network, self.recipe)
        for activation in self.activations:
            activations.make(activation)
        if self.calibration_transform not in ("none", *AUGMENTATIONS):
            raise unknown("augmentation", self.calibration_transform, ("none", *AUGMENTATIONS))

    def jobs(self, data: Data, network: str, activation: str, seed: int | None) -> list[Job]:
        """The jobs of one source. UserError for what cannot be run, such as an option that does not exist."""
        data.calibration(self.calibration)
        if not (methods := self.methods_for(activation)):
            only = " and ".join(sorted({f"{name} (for {find(name).required_activation})" for name, _ in self.methods}))
            raise UserError(f"{only}: none of these converts networks trained with {activation}.")
        recipe = str(self.recipe) if seed is None else recipe_of(data.name, network, self.recipe).key
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


@dataclass
class Outcome:
    """What a sweep made; what does not apply or is not here, and what was tried and failed, each with the reason."""

    records: list[dict] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def attempt(self, what: str, named: bool = False, absent: bool = False) -> Iterator[None]:
        """Lists what cannot be done. StorageError passes, as nothing can be kept any more; all errors pass if `named`.

        `absent`: the reason would be that something is not on this machine.
        """
        try:
            yield
        except UserError as error:
            if named or isinstance(error, StorageError):
                raise
            (self.skipped if absent else self.failed).append((what, str(error)))


@dataclass(frozen=True)
class Settings:
    """How to run, as opposed to what."""

    runs: Path
    data_root: Path | None = None
    accept_unofficial: bool = False
    device: str = "auto"
    wandb: str = "off"


def sweep(sweeps: Iterable[Sweep], settings: Settings, work: Callable | None = None, *, named: bool = False) -> Outcome:
    """Runs all jobs, source by source, once all of them are checked.

    What cannot be done is listed with its reason, and the rest goes on; where everything was `named` by the user, what
    is found before the first job runs is a UserError. StorageError ends it: what cannot be written need not be
    computed. `work(name, source, jobs, T, settings, outcome)` is what is done with every source, by default
    `sweep_source`.
    """
    sweeps, outcome, checked = list(sweeps), Outcome(), set()
    datasets = _datasets(sweeps, settings, outcome, named)
    todo: list[tuple[str, Sweep, tuple[str, str, int | None], list[Job]]] = []
    for table in sweeps:
        if table.dataset not in datasets:
            continue
        data = datasets[table.dataset]
        keys = [next(part.sources()) for part in table.parts()] or list(table.sources())
        with outcome.attempt(table.id, named, absent=not table.parts()):
            table.check()
            for key, jobs in [(key, table.jobs(data, *key)) for key in keys]:
                which = [table.recipe, None if key[2] is None else f"seed {key[2]}"]
                name = " ".join([table.dataset, *key[:2], *filter(None, which)])
                with outcome.attempt(name, named, absent=key[2] is None):
                    if (source := (table.dataset, *key, table.recipe)) not in checked:
                        check_source(data, *key, settings, table.recipe)
                        checked.add(source)
                    todo.append((name, table, key, jobs))
    for place, (name, table, key, jobs) in enumerate(todo, 1):
        with outcome.attempt(name), cpu_threads(table.threads):
            source = source_of(datasets[table.dataset], *key, settings, table.recipe)
            (work or sweep_source)(f"[{place}/{len(todo)}] {name}", source, jobs, table.T, settings, outcome)
    return outcome


def _datasets(sweeps: list[Sweep], settings: Settings, outcome: Outcome, named: bool) -> dict[str, Data]:
    """Those that are here, by name; the tables of the others are skipped."""
    found, lacking = {}, {}
    for name in dict.fromkeys(table.dataset for table in sweeps):
        try:
            found[name] = load(name, settings.data_root, accept_unofficial=settings.accept_unofficial)
        except UserError as error:
            if named:
                raise
            lacking[name] = str(error)
    outcome.skipped += [(table.id, lacking[table.dataset]) for table in sweeps if table.dataset in lacking]
    if found:  # hours of work may come first; the outcome says it too
        for name, reason in lacking.items():
            print(f"{name} is left out: {reason}", file=sys.stderr)
    return found


def sweep_source(name: str, source: Source, jobs: list[Job], T: tuple[int, ...], settings: Settings, outcome: Outcome):
    images = len(source.data.test) + len(source.data.validation)
    total = images * sum(grid[-1] for job in jobs for grid in runs_of(job.method, sorted(T)))
    _ = source.ann  # what cannot be converted is one reason, not one for each job
    with closing(Bar(name, total)) as bar:
        before = ""
        for job in jobs:
            with outcome.attempt(f"{name} {job.label}"):
                record = run(job, T, source, settings.runs, partial(bar.update, note=job.label + before))
                outcome.records.append(record)
                before = f" (last {_last_accuracy(record)})"
                wandb_runs.log_record(record, settings.runs, settings.wandb)


def _last_accuracy(record: dict) -> str:
    T = max(record["T"], key=int)
    test = record["T"][T]["test"]
    return f"{100 * test['correct'] / test['n']:.1f} %, T = {T}"


def check_source(
    data: Data, network: str, activation: str, seed: int | None, settings: Settings, recipe: str | None = None
) -> None:
    """UserError for a source that cannot be converted, before it is trained; or whose imported weights are not here."""
    if seed is None:
        pretrained.find(settings.runs, data.name, network, activation, recipe)
    elif not checkpoints.weights_file(data, network, activation, seed, settings.runs, recipe).exists():
        about = checkpoints.describe(data, network, activation, seed, recipe)
        prepare(checkpoints.untrained(about, seed), next(data.validation.batches(1))[0])


def source_of(
    data: Data, network: str, activation: str, seed: int | None, settings: Settings, recipe: str | None = None
) -> Source:
    """The trained source: from the cache, resumed, or trained; `check_source` says before whether that makes sense.

    `recipe` by name, else that of dataset and network. Without a seed: the imported weights of `recipe`.
    """
    if seed is None:
        weights = pretrained.find(settings.runs, data.name, network, activation, recipe)
        return Source(data, weights, devices.accelerator(settings.device))
    weights = train.train(
        data,
        network,
        activation,
        seed,
        settings.runs,
        recipe=recipe,
        device=settings.device,
        logger=lambda info: wandb_runs.training_logger(info, settings.runs, settings.wandb),
    )
    return Source(data, weights, devices.accelerator(settings.device))
