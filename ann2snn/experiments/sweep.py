"""Sweeps: every source network times every method, over a grid of time steps."""

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
from ann2snn.data.split import ImageDataset
from ann2snn.errors import StorageError, UserError, unknown
from ann2snn.experiments.cpu_threads import cpu_threads
from ann2snn.experiments.run_job import readout_steps, run, time_grids
from ann2snn.experiments.source import SourceANN
from ann2snn.graph.prepare import prepare
from ann2snn.methods.registry import find
from ann2snn.networks import activations
from ann2snn.networks import registry as networks_registry
from ann2snn.progress import ProgressBar
from ann2snn.records.job import Job
from ann2snn.records.schema import Record
from ann2snn.tracking import wandb_runs
from ann2snn.training import checkpoints, pretrained, train
from ann2snn.training.recipes import recipe_of
from ann2snn.training.source_info import source_info

SourceKey = tuple[str, str, int | None]  # network, activation, seed


@dataclass(frozen=True)
class Sweep:
    """The jobs of one table: every source network times every method, with outputs at every T."""

    id: str
    dataset: str
    networks: tuple[str, ...]
    activations: tuple[str, ...]
    seeds: tuple[int | None, ...]  # training seeds; None for the imported weights of `recipe`
    methods: tuple[tuple[str, dict], ...]  # (name, options)
    T: tuple[int, ...]
    calibration: int = 1024
    calibration_seeds: tuple[int, ...] = (0,)
    calibration_transform: str = "none"  # or the name of an augmentation
    threads: int | None = None  # CPU threads; fixed if results must not depend on the number of cores
    recipe: str | None = None  # name of a training recipe, or key of imported weights such as "akamaster-12fca82f"

    def sources(self) -> Iterator[SourceKey]:
        """(network, activation, seed) of every source."""
        return ((n, a, s) for n in self.networks for a in self.activations for s in self.seeds)

    def methods_for(self, activation: str) -> tuple[tuple[str, dict], ...]:
        """The methods that convert networks with this activation."""
        return tuple((name, options) for name, options in self.methods if find(name).applies(activation))

    def parts(self) -> "list[Sweep]":
        """The same jobs as sweeps of one source each. Sources that no method converts are left out."""
        return [
            replace(self, networks=(n,), activations=(a,), seeds=(s,), methods=methods)
            for n, a, s in self.sources()
            if (methods := self.methods_for(a))
        ]

    def check(self) -> None:
        """Checks all names, without reading data. UserError for an unknown name."""
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

    def jobs(self, data: ImageDataset, network: str, activation: str, seed: int | None) -> list[Job]:
        """The jobs of one source.

        Raises:
            UserError: A job cannot be run, because of an unknown option for example.
        """
        data.calibration(self.calibration)
        if not (methods := self.methods_for(activation)):
            names = " and ".join(sorted({f"{name} (for {find(name).required_activation})" for name, _ in self.methods}))
            raise UserError(
                f"{names}: none of these converts networks trained with {activation}; name another --method or"
                " --activation."
            )
        recipe = str(self.recipe) if seed is None else recipe_of(data.name, network, self.recipe).key
        jobs = [
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
        for job in jobs:
            readout_steps(job, self.T)
        return jobs


@dataclass
class Outcome:
    """What a sweep produced. `skipped` and `failed` hold (what, reason)."""

    records: list = field(default_factory=list)  # of all jobs that were run; diagnoses in a sweep of diagnoses
    skipped: list[tuple[str, str]] = field(default_factory=list)  # something is not on this machine
    failed: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def attempt(self, what: str, strict: bool = False, is_missing: bool = False) -> Iterator[None]:
        """Turns a UserError inside the context into an entry of `failed`, or of `skipped` if `is_missing`.

        StorageError is always raised, since nothing more can be saved; with `strict`, so is every error.
        """
        try:
            yield
        except UserError as error:
            if strict or isinstance(error, StorageError):
                raise
            (self.skipped if is_missing else self.failed).append((what, str(error)))


@dataclass(frozen=True)
class Settings:
    """How jobs are run: folders, device and logging."""

    runs: Path
    data_root: Path | None = None
    accept_unofficial: bool = False
    device: str = "auto"
    wandb: str = "off"


@dataclass(frozen=True)
class Task:
    """The jobs of one source."""

    name: str  # in messages
    sweep: Sweep
    source: SourceKey
    jobs: list[Job]


def sweep(
    sweeps: Iterable[Sweep], settings: Settings, process: Callable | None = None, *, strict: bool = False
) -> Outcome:
    """Runs all jobs, source by source, after checking all of them.

    Jobs that cannot be run are listed in the outcome with the reason, and the others are run.

    Args:
        sweeps: The jobs.
        settings: How to run them.
        process: Called for every source as `process(name, source, jobs, T, settings, outcome)`; by default
            `sweep_source`.
        strict: Whether an error that is found before the first job is raised. For jobs that the user named one by one.

    Raises:
        StorageError: A file cannot be written.
        UserError: With `strict`, a job cannot be run.
    """
    sweeps, outcome = list(sweeps), Outcome()
    datasets = _load_datasets(sweeps, settings, outcome, strict)
    tasks = _plan([table for table in sweeps if table.dataset in datasets], datasets, settings, outcome, strict)
    for number, task in enumerate(tasks, 1):
        table = task.sweep
        with outcome.attempt(task.name), cpu_threads(table.threads):
            source = load_or_train(datasets[table.dataset], *task.source, settings, table.recipe)
            name = f"[{number}/{len(tasks)}] {task.name}"
            (process or sweep_source)(name, source, task.jobs, table.T, settings, outcome)
    return outcome


def _load_datasets(sweeps: list[Sweep], settings: Settings, outcome: Outcome, strict: bool) -> dict[str, ImageDataset]:
    """The datasets that are on this machine, by name. Sweeps over other datasets are listed as skipped."""
    datasets, missing = {}, {}
    for name in dict.fromkeys(table.dataset for table in sweeps):
        try:
            datasets[name] = load(name, settings.data_root, accept_unofficial=settings.accept_unofficial)
        except UserError as error:
            if strict:
                raise
            missing[name] = str(error)
    outcome.skipped += [(table.id, missing[table.dataset]) for table in sweeps if table.dataset in missing]
    if datasets:  # hours of work may precede the report of the outcome
        for name, reason in missing.items():
            print(f"{name} is left out: {reason}", file=sys.stderr)
    return datasets


def _plan(
    sweeps: list[Sweep], datasets: dict[str, ImageDataset], settings: Settings, outcome: Outcome, strict: bool
) -> list[Task]:
    """Checks all jobs and sources. Returns the tasks that can be run."""
    tasks: list[Task] = []
    checked = set()
    for table in sweeps:
        data = datasets[table.dataset]
        parts = table.parts()
        with outcome.attempt(table.id, strict, is_missing=not parts):
            table.check()
            keys = [next(part.sources()) for part in parts] or list(table.sources())
            for key, jobs in [(key, table.jobs(data, *key)) for key in keys]:
                network, activation, seed = key
                recipe_and_seed = filter(None, [table.recipe, None if seed is None else f"seed {seed}"])
                name = " ".join([table.dataset, network, activation, *recipe_and_seed])
                with outcome.attempt(name, strict, is_missing=seed is None):
                    source = (table.dataset, *key, table.recipe)
                    if source not in checked:
                        check_source(data, *key, settings, table.recipe)
                        checked.add(source)
                    tasks.append(Task(name, table, key, jobs))
    return tasks


def sweep_source(
    name: str, source: SourceANN, jobs: list[Job], T: tuple[int, ...], settings: Settings, outcome: Outcome
) -> None:
    """Runs all jobs of one source, with a progress bar, and logs their records."""
    images = len(source.data.test) + len(source.data.validation)
    total = images * sum(grid[-1] for job in jobs for grid in time_grids(job.method, sorted(T)))
    _ = source.ann  # fails here once, rather than for every job, if the network cannot be converted
    with closing(ProgressBar(name, total)) as bar:
        note = ""
        for job in jobs:
            with outcome.attempt(f"{name} {job.label}"):
                record = run(job, T, source, settings.runs, partial(bar.update, note=job.label + note))
                outcome.records.append(record)
                note = f" (last {_last_accuracy(record)})"
                wandb_runs.log_record(record, settings.runs, settings.wandb)


def _last_accuracy(record: Record) -> str:
    T = max(record["T"], key=int)
    test = record["T"][T]["test"]
    return f"{100 * test['correct'] / test['n']:.1f} %, T = {T}"


def check_source(
    data: ImageDataset, network: str, activation: str, seed: int | None, settings: Settings, recipe: str | None = None
) -> None:
    """Checks a source before it is trained.

    Raises:
        UserError: It cannot be converted, or its imported weights are missing.
    """
    if seed is None:
        pretrained.find(settings.runs, data.name, network, activation, recipe)
    elif not checkpoints.weights_file(data, network, activation, seed, settings.runs, recipe).exists():
        info = source_info(data, network, activation, seed, recipe)
        prepare(checkpoints.untrained_network(info, seed), next(data.validation.batches(1))[0])


def load_or_train(
    data: ImageDataset, network: str, activation: str, seed: int | None, settings: Settings, recipe: str | None = None
) -> SourceANN:
    """The trained source: loaded if it exists, else trained, resuming where possible. `check_source` comes first.

    Args:
        data: The `ImageDataset`.
        network: Name of the network.
        activation: Activation spec.
        seed: Training seed; None for the imported weights of `recipe`.
        settings: How to train.
        recipe: Name of a training recipe, by default that of dataset and network; or key of imported weights.
    """
    if seed is None:
        weights = pretrained.find(settings.runs, data.name, network, activation, recipe)
        return SourceANN(data, weights, devices.resolve_device(settings.device))
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
    return SourceANN(data, weights, devices.resolve_device(settings.device))
