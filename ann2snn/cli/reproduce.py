"""`ann2snn reproduce`: runs a profile, builds its tables, and compares its numbers with the committed ones."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from textwrap import wrap

from tabulate import tabulate

from ann2snn import devices
from ann2snn.cli.output import report_skipped
from ann2snn.errors import UserError
from ann2snn.experiments import diagnosis, profiles, shards, sweep
from ann2snn.experiments.estimate import UNKNOWN, Estimator, format_bytes, format_duration
from ann2snn.experiments.sweep import Settings, Sweep
from ann2snn.files import slug
from ann2snn.leaderboard import (
    build,
    diff,
    inputs,
)
from ann2snn.leaderboard.inputs import RESULTS
from ann2snn.leaderboard.pages import paper
from ann2snn.records import store
from ann2snn.tracking import wandb_runs

FURTHER = """\
further    ./reproduce.sh --profile digits: T to 128 and a timm network;
           --profile matrix: every conversion method on the same sources;
           --profile cifar, paper or imagenet, with --data-root FOLDER: CIFAR and ImageNet;
           --dry-run lists the jobs of a profile, --only ID ... runs tables or rows of it"""


def reproduce(options, settings: Settings) -> int:
    """Runs or lists a profile, or the part of it that `options` select; returns the exit code."""
    tables, table = select(profiles.find(options.profile), options.only), table_of(options)
    parts = shards.select_shard([part for table in tables for part in table.parts()], options.shard)
    if options.dry_run:
        ids = ", ".join(sweeps_of_paper_tables(tuple(parts)))
        paper_ids = f", or what a table of the paper needs: {ids}" if ids else ""
        print(
            listing(
                f"profile {options.profile}", parts, settings, f"--only ID ... runs these rows or tables{paper_ids}."
            )
        )
        return 0
    began = time.monotonic()
    diagnosed = table if table and table.diagnosed else None
    if set(options.device) & set(",:"):
        failed = shards.run_on_devices(options.device.split(","), options.arguments)
        if diagnosed:
            print(paper.section(diagnosed, inputs.read(settings.runs)))
        else:
            finished = (record for part in parts for record in Estimator([], settings).finished(part))
            report([record for record in finished if record], options, settings, began)  # type: ignore
        if failed:
            raise UserError(f"The run on {' and '.join(failed)} failed; its output above has the reason.")
        return 0
    devices.resolve_device(settings.device)
    if diagnosed:
        outcome = sweep.sweep(parts, settings, diagnosis.diagnose_source)
        build.build_pages(settings.runs)
        print(paper.section(diagnosed, inputs.read(settings.runs)))
        return report_skipped(outcome)
    outcome = sweep.sweep(parts if options.shard else tables, settings)
    if not options.shard:
        report(outcome.records, options, settings, began)
    elif outcome.records or not parts:
        print(f"{len(outcome.records)} records of this shard are in {settings.runs / 'records'}. When those of all")
        print(f"shards are copied together, run: .venv/bin/ann2snn leaderboard --root {settings.runs}")
    return report_skipped(outcome) if parts else 0


def report(records: list[dict], options, settings: Settings, began: float) -> None:
    """Builds tables and figures, and prints the comparison and where the results are."""
    if not records:
        return
    print("building tables and figures", file=sys.stderr, flush=True)
    build.build(settings.runs)
    wandb_runs.log_tables(settings.runs, settings.runs, settings.wandb)
    if table := table_of(options):
        print(paper.section(table, inputs.read(settings.runs)))
    print(comparison(records))
    print(f"\n{len(records)} records in {time.monotonic() - began:.0f} s")
    runs = settings.runs.resolve()  # the caller may be in another folder
    print(f"table      {runs / 'LEADERBOARD.md'}")
    print(f"pictures   {runs / 'figures'}")
    if settings.wandb != "off":
        print(f"W&B        {settings.wandb}; in the terminal: .venv/bin/wandb leet {runs / 'wandb'}")
    print(FURTHER)


def comparison(records: list[dict]) -> str:
    """A table of these accuracies beside the committed ones, for the cells that both have."""
    if not (RESULTS / "records").is_dir():
        return "There are no committed results to compare with."
    return diff.comparison_table(diff.compare(records, store.load_all(RESULTS)))  # type: ignore


def rows(table: Sweep) -> Iterator[tuple[str, Sweep]]:
    """Yields (id, sweep) for every row of a sweep: one network, activation and method."""
    for network in table.networks:
        for activation in table.activations:
            for method, options in table.methods_for(activation):
                name = "-".join([method, *(slug(value) for value in options.values())])
                part = replace(table, networks=(network,), activations=(activation,), methods=((method, options),))
                yield f"{table.id}/{slug(activation)}/{name}", part


def table_of(options) -> paper.Table | None:
    """The table of the paper that `--only` names, or None."""
    named = [paper.TABLE[id] for id in options.only if id in paper.TABLE]
    if named and len(options.only) > 1:
        raise UserError(f"{named[0].id} is a table of the paper: name no other id with it.")
    return named[0] if named else None


def select(tables: tuple[Sweep, ...], only: list[str]) -> tuple[Sweep, ...]:
    """The sweeps with the ids in `only`, which are sweeps, rows of them, or tables of the paper; all without ids."""
    if not only:
        return tables
    parts = {table.id: (table,) for table in tables} | {id: (part,) for table in tables for id, part in rows(table)}
    parts |= {id: sweeps for id, sweeps in sweeps_of_paper_tables(tables).items() if id not in parts}
    if wrong := [id for id in only if id not in parts]:
        near = get_close_matches(wrong[0], parts, 3, 0.4) or list(parts)[:3]
        raise UserError(
            f"There is no table or row {wrong[0]!r}; the nearest are: {', '.join(near)}. --dry-run lists all."
        )
    rest = [id for id in dict.fromkeys(only) if "/" not in id or id.partition("/")[0] not in only]
    return tuple(part for id in rest for part in parts[id])


def sweeps_of_paper_tables(tables: tuple[Sweep, ...]) -> dict[str, tuple[Sweep, ...]]:
    """The sweeps that each table of the paper needs, by the id of the table; those without sweeps are left out."""
    needed = {p.id: tuple(table for table in tables if table.id in p.sweeps) for p in paper.TABLES}
    return {id: sweeps for id, sweeps in needed.items() if sweeps}


def listing(name: str, parts: list[Sweep], settings: Settings, hint: str = "") -> str:
    """The jobs of a profile or sweep, with estimates of time and disk, finished jobs, and missing requirements."""
    known = store.load_all(RESULTS) if (RESULTS / "records").is_dir() else []
    estimates, lines, tables = Estimator(known, settings), [], []
    for id, group in grouped(row for part in parts for row in rows(part)).items():
        need = estimates.estimate(group)
        lines.append([id, need.time, need.disk])
    for id, group in grouped((part.id, part) for part in parts).items():
        need = estimates.estimate(group)
        jobs = f"{need.jobs} ({need.done} done)" if need.done else need.jobs
        tables.append([id, jobs, grid(group[0].T), need.time, need.disk])
    whole = estimates.estimate(parts)
    done = f", {whole.done} of them done" if whole.done else ""
    least = "at least" if whole.certainty == UNKNOWN else "about"
    total = f"{name}: {whole.jobs} jobs{done}; the rest takes {least} {format_duration(whole.seconds)} and"
    machines = "; ".join(estimates.machines) or "no machine yet"
    basis = f"As measured on {machines}; ~ is extrapolated from other networks by multiply-accumulates."
    text = [tabulate(lines, ["row, with its training", "time", "disk"], disable_numparse=True), ""]
    text += [tabulate(tables, ["table", "jobs", "T", "time", "disk"], disable_numparse=True), ""]
    text += [*wrap(f"{total} {format_bytes(whole.bytes)} below {settings.runs}", 80), *wrap(basis, 80)]
    text += wrap(hint, 80)
    return "\n".join([*text, *(f"\nmissing: {sentence}" for sentence in estimates.missing)])


def grouped(pairs: Iterable[tuple[str, Sweep]]) -> dict[str, list[Sweep]]:
    """The sweeps by id, in order."""
    groups: dict[str, list[Sweep]] = {}
    for id, part in pairs:
        groups.setdefault(id, []).append(part)
    return groups


def grid(T: tuple[int, ...]) -> str:
    """`1 2 4`, or `1 2 ... 32` for more than four numbers."""
    return " ".join(map(str, T)) if len(T) < 5 else f"{T[0]} {T[1]} ... {T[-1]}"
