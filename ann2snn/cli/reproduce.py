"""`./reproduce.sh`: a profile from its jobs to the tables, and today's numbers beside the committed ones."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from textwrap import wrap

from tabulate import tabulate

from ann2snn import devices
from ann2snn.cli.output import report_left_out
from ann2snn.errors import UserError, unknown
from ann2snn.experiments import diagnosis, shards, sweep
from ann2snn.experiments.estimate import UNKNOWN, Estimates, clock, size
from ann2snn.experiments.profiles import PROFILES
from ann2snn.experiments.sweep import Settings, Sweep
from ann2snn.files import slug
from ann2snn.leaderboard import (
    build,
    diff,
    inputs,
)
from ann2snn.leaderboard.inputs import RESULTS
from ann2snn.leaderboard.pages import paper, write
from ann2snn.records import store
from ann2snn.tracking import wandb_runs

FURTHER = """\
further    ./reproduce.sh --profile digits: T to 128 and a timm network;
           --profile matrix: every conversion method on the same sources;
           --profile cifar, paper or imagenet, with --data-root FOLDER: CIFAR and ImageNet;
           --dry-run lists the jobs of a profile, --only ID ... runs tables or rows of it"""


def reproduce(options, settings: Settings) -> int:
    """Runs a profile, or lists it."""
    if options.profile not in PROFILES:
        raise unknown("profile", options.profile, PROFILES)
    tables, table = select(PROFILES[options.profile], options.only), table_of(options)
    parts = shards.take([part for table in tables for part in table.parts()], options.shard)
    if options.dry_run:
        ids = ", ".join(of_the_paper(tuple(parts)))
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
        failed = shards.on_devices(options.device.split(","), options.arguments)
        if diagnosed:
            print(paper.section(diagnosed, inputs.read(settings.runs)))
        else:
            finished = (record for part in parts for record in Estimates([], settings).finished(part))
            report([record for record in finished if record], options, settings, began)
        if failed:
            raise UserError(f"The run on {' and '.join(failed)} failed, and its lines above say why.")
        return 0
    devices.resolve_device(settings.device)
    if diagnosed:
        outcome = sweep.sweep(parts, settings, diagnosis.diagnose_source)
        write.build(settings.runs)
        print(paper.section(diagnosed, inputs.read(settings.runs)))
        return report_left_out(outcome)
    outcome = sweep.sweep(parts if options.shard else tables, settings)
    if not options.shard:
        report(outcome.records, options, settings, began)
    elif outcome.records or not parts:
        print(f"{len(outcome.records)} records of this shard are in {settings.runs / 'records'}; once those of all")
        print(f"shards are copied together: .venv/bin/ann2snn leaderboard --root {settings.runs}")
    return report_left_out(outcome) if parts else 0


def report(made: list[dict], options, settings: Settings, began: float) -> None:
    """Builds tables and figures, and says what was made and where it is."""
    if not made:
        return
    print("building tables and figures", file=sys.stderr, flush=True)
    build.build(settings.runs)
    write.build(settings.runs)
    wandb_runs.log_tables(settings.runs, settings.runs, settings.wandb)
    if table := table_of(options):
        print(paper.section(table, inputs.read(settings.runs)))
    print(compared(made))
    print(f"\n{len(made)} records in {time.monotonic() - began:.0f} s")
    runs = settings.runs.resolve()  # the caller may be in another folder
    print(f"table      {runs / 'LEADERBOARD.md'}")
    print(f"pictures   {runs / 'figures'}")
    if settings.wandb != "off":
        print(f"W&B        {settings.wandb}; in the terminal: .venv/bin/wandb leet {runs / 'wandb'}")
    print(FURTHER)


def compared(made: list[dict]) -> str:
    """Today's accuracies beside the committed ones, over the cells that both have."""
    if not (RESULTS / "records").is_dir():
        return "There are no committed results to compare with."
    return diff.comparison_table(diff.compare(made, store.load_all(RESULTS)))


def rows(table: Sweep) -> Iterator[tuple[str, Sweep]]:
    """(id, part of the table) for every row of it: one activation and one method."""
    for network in table.networks:
        for activation in table.activations:
            for method, options in table.methods_for(activation):
                name = "-".join([method, *(slug(value) for value in options.values())])
                part = replace(table, networks=(network,), activations=(activation,), methods=((method, options),))
                yield f"{table.id}/{slug(activation)}/{name}", part


def table_of(options) -> paper.Table | None:
    """The table of the paper that is asked for."""
    found = [table for id in options.only if (table := paper.TABLE.get(id))]
    if found and len(options.only) > 1:
        raise UserError(f"{found[0].id} is a table of the paper: ask for it alone.")
    return found[0] if found else None


def select(tables: tuple[Sweep, ...], only: list[str]) -> tuple[Sweep, ...]:
    """All tables; or the tables and rows of these ids, each once, or those of a table of the paper."""
    if not only:
        return tables
    parts = {table.id: (table,) for table in tables} | {id: (part,) for table in tables for id, part in rows(table)}
    parts |= {id: found for id, found in of_the_paper(tables).items() if id not in parts}
    if wrong := [id for id in only if id not in parts]:
        near = get_close_matches(wrong[0], parts, 3, 0.4) or list(parts)[:3]
        raise UserError(
            f"There is no table or row {wrong[0]!r}; the nearest are: {', '.join(near)}. --dry-run lists all."
        )
    rest = [id for id in dict.fromkeys(only) if "/" not in id or id.partition("/")[0] not in only]
    return tuple(part for id in rest for part in parts[id])


def of_the_paper(tables: tuple[Sweep, ...]) -> dict[str, tuple[Sweep, ...]]:
    """What each table of the paper draws on, by its id, where that is here."""
    found = {p.id: tuple(table for table in tables if table.id in p.sweeps) for p in paper.TABLES}
    return {id: sweeps for id, sweeps in found.items() if sweeps}


def listing(name: str, parts: list[Sweep], settings: Settings, hint: str = "") -> str:
    """The jobs of a profile or sweep with an estimate of time and disk, what is done, and what they lack."""
    known = store.load_all(RESULTS) if (RESULTS / "records").is_dir() else []
    estimates, lines, tables = Estimates(known, settings), [], []
    for id, group in grouped(row for part in parts for row in rows(part)).items():
        need = estimates.need(group)
        lines.append([id, need.time, need.disk])
    for id, group in grouped((part.id, part) for part in parts).items():
        need = estimates.need(group)
        jobs = f"{need.jobs} ({need.done} done)" if need.done else need.jobs
        tables.append([id, jobs, grid(group[0].T), need.time, need.disk])
    whole = estimates.need(parts)
    done = f", of which {whole.done} are done" if whole.done else ""
    least = "at least" if whole.certainty == UNKNOWN else "about"
    total = f"{name}: {whole.jobs} jobs{done}; what is left takes {least} {clock(whole.seconds)} and"
    machines = "; ".join(estimates.machines) or "no machine yet"
    how = f"As measured on {machines}; ~ is extrapolated from other networks by multiply-accumulates."
    text = [tabulate(lines, ["row, with its training", "time", "disk"], disable_numparse=True), ""]
    text += [tabulate(tables, ["table", "jobs", "T", "time", "disk"], disable_numparse=True), ""]
    text += [*wrap(f"{total} {size(whole.bytes)} below {settings.runs}", 80), *wrap(how, 80)]
    text += wrap(hint, 80)
    return "\n".join([*text, *(f"\nmissing: {sentence}" for sentence in estimates.lacking)])


def grouped(pairs: Iterable[tuple[str, Sweep]]) -> dict[str, list[Sweep]]:
    groups: dict[str, list[Sweep]] = {}
    for id, part in pairs:
        groups.setdefault(id, []).append(part)
    return groups


def grid(T: tuple[int, ...]) -> str:
    return " ".join(map(str, T)) if len(T) < 5 else f"{T[0]} {T[1]} ... {T[-1]}"
