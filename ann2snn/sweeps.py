"""Many jobs: what a sweep consists of, and running it from where an earlier one was stopped."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ann2snn import checkpoints, imports, tracking, training
from ann2snn.conversion import find
from ann2snn.data import AUGMENTATIONS, Data, load
from ann2snn.errors import StorageError, UserError
from ann2snn.graph import prepare
from ann2snn.pipeline import readable, run, runs_of
from ann2snn.progress import Bar
from ann2snn.recipes import recipe_of
from ann2snn.records import Job
from ann2snn.sources import Source


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
    sweeps, outcome, datasets, lacking = list(sweeps), Outcome(), {}, {}
    served = [(table, [next(part.sources()) for part in table.parts()] or list(table.sources())) for table in sweeps]
    for name in dict.fromkeys(table.dataset for table in sweeps):
        try:
            datasets[name] = load(name, settings.data_root, accept_unofficial=settings.accept_unofficial)
        except UserError as error:
            lacking[name] = error
    if datasets:  # hours of work may come first; the outcome says it too
        for name, error in lacking.items():
            print(f"{name} is left out: {error}", file=sys.stderr)
    place, places = 0, sum(len(sources) for _, sources in served)
    for table, sources in served:
        with outcome.attempt(table.id), cpu_threads(table.threads):
            if table.dataset in lacking:
                raise lacking[table.dataset]
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
    about = checkpoints.describe(data, network, activation, seed, recipe)
    if not checkpoints.weights_file(data, network, activation, seed, settings.runs, recipe).exists():
        prepare(checkpoints.untrained(about, seed), next(data.validation.batches(1))[0])
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
