"""`./reproduce.sh`: a profile from its jobs to the tables, and today's numbers beside the committed ones."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from tabulate import tabulate

from ann2snn import leaderboard, pipeline, records, tracking, training
from ann2snn.benchmarks.profiles import PROFILES  # type: ignore
from ann2snn.commands import report_skipped
from ann2snn.conversion import find
from ann2snn.errors import UserError
from ann2snn.pipeline import Settings, Sweep
from ann2snn.records import slug

RESULTS = Path("results")


def reproduce(options, settings: Settings) -> int:
    """Runs a profile, or lists it."""
    if options.profile not in PROFILES:
        raise UserError(f"No profile is called {options.profile!r}; there are: {', '.join(PROFILES)}.")
    tables = select(PROFILES[options.profile], options.only)
    if options.dry_run:
        print(listing(options.profile, tables, settings))
        return 0
    training.accelerator(settings.device)
    began = time.monotonic()
    outcome = pipeline.sweep(tables, settings)
    if not outcome.records:
        return report_skipped(outcome)
    print("building tables and figures", file=sys.stderr, flush=True)
    leaderboard.build(settings.runs)
    tracking.log_tables(settings.runs, settings.runs, settings.wandb)
    print(compared(outcome.records))
    print(f"\n{len(outcome.records)} records in {time.monotonic() - began:.0f} s")
    print(f"table      {settings.runs / 'LEADERBOARD.md'}")
    print(f"pictures   {settings.runs / 'figures'}")
    if settings.wandb != "off":
        print(f"W&B        {settings.wandb}; in the terminal: .venv/bin/wandb leet {settings.runs / 'wandb'}")
    print("further    ./reproduce.sh --profile digits: T to 128 and a timm network;")
    print("           --dry-run lists the jobs of a profile, --only ID runs one table or row")
    return report_skipped(outcome)


def compared(made: list[dict]) -> str:
    """Today's accuracies beside the committed ones, over the cells that both have."""
    if not (RESULTS / "records").is_dir():
        return "There are no committed results to compare with."
    return leaderboard.comparison_table(leaderboard.compare(made, records.load_all(RESULTS)))


def rows(table: Sweep) -> Iterator[tuple[str, Sweep]]:
    """(id, part of the table) for every row of it: one activation and one method."""
    for network in table.networks:
        for activation in table.activations:
            for method, options in table.methods:
                name = "-".join([method, *(slug(value) for value in options.values())])
                part = replace(table, networks=(network,), activations=(activation,), methods=((method, options),))
                yield f"{table.id}/{slug(activation)}/{name}", part


def select(tables: tuple[Sweep, ...], only: str | None) -> tuple[Sweep, ...]:
    """All tables, or the one table or row of this id."""
    if only is None:
        return tables
    parts = {table.id: table for table in tables} | {id: part for table in tables for id, part in rows(table)}
    if only not in parts:
        near = get_close_matches(only, parts, 3, 0.4) or list(parts)[:3]
        raise UserError(f"There is no table or row {only!r}; the nearest are: {', '.join(near)}. --dry-run lists all.")
    return (parts[only],)


def listing(profile: str, tables: tuple[Sweep, ...], settings: Settings) -> str:
    """The jobs of a profile with an estimate of time and disk, from what the committed records took."""
    known = records.load_all(RESULTS) if (RESULTS / "records").is_dir() else []
    lines, seconds, size, jobs = [], 0.0, 0, 0
    for table in tables:
        n = len(list(table.sources())) * len(table.methods)
        time_, disk = estimate(table, known)
        lines.append(
            [table.id, n, " ".join(map(str, table.T)), clock(time_), "-" if disk is None else f"{disk / 1e6:.1f} MB"]
        )
        seconds, size, jobs = seconds + (time_ or 0), size + (disk or 0), jobs + n
    machines = sorted({f"{r['provenance']['cpu']}, {r['provenance']['threads']} threads" for r in known}) or [
        "no machine yet"
    ]
    text = [f"profile {profile}: {jobs} jobs, about {clock(seconds)} and {size / 1e6:.1f} MB below {settings.runs}"]
    text += [f"(as measured on {'; '.join(machines)}; what is in {settings.runs} already is not run again)", ""]
    text += [tabulate(lines, ["table", "jobs", "T", "time", "disk"], disable_numparse=True), ""]
    text += ["Rows, for --only (a table's id does too):"]
    text += [f"  {id}" for table in tables for id, _ in rows(table)]
    return "\n".join(text)


def estimate(table: Sweep, known: list[dict]) -> tuple[float | None, int | None]:
    """(seconds, bytes) of a table; None where no committed record is of its networks."""
    seconds, size = 0.0, 0
    for network in table.networks:
        like = [r for r in known if (r["job"]["dataset"], r["job"]["network"]) == (table.dataset, network)]
        if not like:
            return None, None
        sources = {r["source"]["weights_hash"]: r["source"]["training_seconds"] or 0.0 for r in like}
        n = len(table.activations) * len(table.seeds)
        seconds += n * sum(sources.values()) / len(sources)
        longest = [(int(max(r["T"], key=int)), r) for r in like]
        per_step = sum(r["T"][str(t)]["seconds"] / t for t, r in longest) / len(like)
        images = 1 + like[0]["data"]["n"]["validation"] / like[0]["data"]["n"]["test"]
        steps = sum(sum(table.T) if find(method).depends_on_T else max(table.T) for method, _ in table.methods)
        seconds += n * steps * per_step * images
        size += n * (4 * like[0]["network"]["parameters"] + len(table.methods) * 1100 * len(table.T))
    return seconds, size


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "not measured"
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
