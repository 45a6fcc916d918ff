"""What every command does."""

import ast
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tabulate import tabulate

from ann2snn.errors import UserError, unknown

LARGEST_PUBLISHED = 2_000_000  # bytes of a file of weights; larger networks are published by recipe and hash


def run(options) -> int | None:
    """The command, with the methods of its plug-ins, on its number of CPU threads."""
    command = globals()[options.command]
    for file in getattr(options, "plugin", ()):
        from ann2snn.conversion import load_plugin

        load_plugin(file)
    if not hasattr(options, "threads"):
        return command(options)
    import torch

    from ann2snn import threads
    from ann2snn.sweeps import cpu_threads

    n, own = options.threads, torch.get_num_threads()
    if n is None and "OMP_NUM_THREADS" not in os.environ and not options.device.startswith("cuda"):
        remember = not getattr(options, "dry_run", False)
        n = threads.choose(getattr(options, "dataset", None), options.runs, own, remember)
    with cpu_threads(n):
        return command(options)


def settings(options):
    from ann2snn import tracking
    from ann2snn.sweeps import Settings

    return Settings(
        runs=options.runs,
        data_root=options.data_root,
        accept_unofficial=options.accept_unofficial_data,
        device=options.device,
        wandb=tracking.mode(options.wandb),
    )


def reproduce(options) -> int:
    from ann2snn.reproduction import reproduce

    return reproduce(options, settings(options))


def train(options) -> int:
    from ann2snn.data import load
    from ann2snn.sweeps import check_source, source_of

    data = load(options.dataset, options.data_root, accept_unofficial=options.accept_unofficial_data)
    seed = 0 if options.seed is None else options.seed
    which = data, options.network, options.activation, seed, settings(options), options.recipe
    check_source(*which)
    source = source_of(*which)
    found = source.result("validation")
    print(f"{source.path}\nvalidation accuracy {100 * found['correct'] / found['n']:.2f} % of {found['n']} images")
    return 0


def import_weights(options) -> int:
    from ann2snn.imports import CHECKPOINTS, FORMATS, import_state_dict, import_weights

    name, chosen = options.checkpoint, {what: getattr(options, what) for what in ("dataset", "network", "activation")}
    if name in FORMATS:
        if not all(chosen.values()):
            raise UserError(f"Weights in the names of {name} need --dataset, --network and --activation.")
        path, info = import_state_dict(name, options.file, options.runs, **chosen)
    else:
        if name in CHECKPOINTS and any(chosen.values()):
            raise UserError(f"{name} is one file of one network: leave out --dataset, --network and --activation.")
        path, info = import_weights(name, options.file, options.runs)
    named = " ".join(f"--{name} {info[name]}" for name in ("dataset", "network", "activation", "recipe"))
    print(f"{path}\nnow: ann2snn sweep {named} --runs {options.runs}")
    return 0


def sweep(options) -> int:
    from ann2snn import leaderboard, sweeps, tracking
    from ann2snn.benchmarks import pages  # type: ignore
    from ann2snn.conversion import find

    table, run = _table(options), settings(options)
    if options.dry_run:
        from ann2snn.reproduction import listing

        table.check()
        print(listing("sweep", table.parts(), run))
        return 0
    if options.limit:
        with tempfile.TemporaryDirectory() as scratch:
            outcome = sweeps.sweep([table], run, partial(_first, options.limit, Path(scratch)), named=True)
    else:
        outcome = sweeps.sweep([table], run, named=True)
    for activation in table.activations:
        left_out = sorted({name for name, _ in table.methods} - {name for name, _ in table.methods_for(activation)})
        reasons = (f"it is for {find(name).only_on} sources." for name in left_out)
        outcome.skipped += zip((f"{name} on {activation}" for name in left_out), reasons, strict=True)
    if outcome.records:
        print(accuracies(outcome.records))
    if outcome.records and options.limit:
        n = outcome.records[0]["data"]["n"]["test"]
        print(f"\nOn the first {n} test images only (--limit): no record is kept, and no table shows this.")
    elif outcome.records:
        leaderboard.build(options.runs)
        pages.build(options.runs)
        tracking.log_tables(options.runs, options.runs, run.wandb)
        print(f"\nrecords, tables and figures: {options.runs}")
    return report_left_out(outcome)


def _table(options):
    """The jobs that the options of `sweep` name."""
    from ann2snn.conversion import find
    from ann2snn.sweeps import Sweep

    extra = dict(_option(text) for text in options.option)
    if "reset" in extra:
        raise UserError("The reset rule is no --option: name it with --reset.")
    methods = []
    for name in options.method:
        takes_reset = "reset" in find(name).options
        for reset in options.reset if takes_reset else [None]:
            methods.append((name, extra | ({"reset": reset} if takes_reset else {})))
    return Sweep(
        "sweep",
        options.dataset,
        tuple(options.network),
        tuple(options.activation),
        _seeds(options),
        tuple(methods),
        tuple(sorted(set(options.T))),
        options.calibration,
        tuple(options.calibration_seed),
        options.calibration_transform,
        recipe=options.recipe,
    )


def _first(n: int, scratch: Path, name, source, jobs, T, run, outcome) -> None:
    """Runs the jobs of a source on its first n images; the records go to a folder that is removed afterwards."""
    from ann2snn.sweeps import sweep_source

    splits = {split: getattr(source.data, split) for split in ("test", "validation")}
    few = {split: images.subset(range(min(n, len(images)))) for split, images in splits.items()}
    source.data = replace(source.data, official=False, **few)
    sweep_source(name, source, jobs, T, replace(run, runs=scratch, wandb="off"), outcome)


def _seeds(options) -> tuple[int | None, ...]:
    """Of the trainings; None for imported weights, whose recipe ends in the hash of their file."""
    from ann2snn.imports import CHECKPOINTS
    from ann2snn.recipes import RECIPES

    if options.recipe in (None, *RECIPES):
        seeds = [0] if options.seed is None else options.seed
        return tuple(seeds) if isinstance(seeds, list) else (seeds,)
    if not re.fullmatch(r".+-[0-9a-f]{8}", options.recipe):
        raise unknown("recipe", options.recipe, [*RECIPES, *(known.recipe for known in CHECKPOINTS.values())])
    if options.seed is not None:
        raise UserError(
            f"{options.recipe} is no recipe of a training, and imported weights have no seed: leave --seed out, or take"
            f" one of the recipes {', '.join(RECIPES)}."
        )
    return (None,)


def diagnose(options) -> int:
    from ann2snn import diagnosis, sweeps
    from ann2snn.data import load

    data = load(options.dataset, options.data_root, accept_unofficial=options.accept_unofficial_data)
    (seed,) = _seeds(options)
    which = data, options.network, options.activation, seed, settings(options), options.recipe
    sweeps.check_source(*which)
    found = diagnosis.diagnose(sweeps.source_of(*which), options.T, options.limit or options.images)
    print(diagnosis.report(found))
    if options.limit:
        print(f"\nOn the first {found['images']} test images only (--limit): nothing is kept.")
    else:
        print(f"\n{diagnosis.save(found, options.runs)}")
    return 0


def accuracies(records: list[dict]) -> str:
    """Test accuracy over T, one line a record."""
    from ann2snn.records import Job

    grid = sorted({int(t) for r in records for t in r["T"]})
    lines = []
    for r in records:
        job, n = Job(**r["job"]), r["ann"]["test"]["n"]
        cells = [100 * r["T"][str(t)]["test"]["correct"] / n if str(t) in r["T"] else None for t in grid]
        ann = 100 * r["ann"]["test"]["correct"] / n
        lines.append([job.network, job.activation, job.seed, job.label, ann, *cells])
    return tabulate(
        lines, ["network", "activation", "seed", "method", "ANN", *map(str, grid)], floatfmt=".1f", missingval="-"
    )


def report_left_out(outcome) -> int:
    """Says what was skipped and what failed, and returns the exit code: 2 for a failure, or where there is nothing."""
    for word, found in (("skipped", outcome.skipped), ("failed", outcome.failed)):
        reasons: dict[str, dict[str, None]] = {}  # what, in order and once, by the reason
        for what, reason in found:
            reasons.setdefault(reason, {})[what] = None
        for reason, what in reasons.items():
            print(f"{word} {', '.join(what)}: {reason}", file=sys.stderr)
    return 2 if outcome.failed or not outcome.records else 0


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--option takes NAME=VALUE, such as quantile=0.99, not {text!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def inspect(options) -> int:
    from ann2snn import inspection

    return inspection.inspect(options)


def leaderboard(options) -> int:
    from ann2snn import leaderboard
    from ann2snn.benchmarks import pages, readme  # type: ignore

    if options.check:
        stale = leaderboard.check(options.root) + pages.check(options.root)
        stale += readme.check(options.readme, options.root) if options.readme else []
        if stale:
            also = f" --readme {options.readme}" if options.readme else ""
            raise UserError(
                f"Stale: {', '.join(map(str, stale))}; run `ann2snn leaderboard{also}` and commit what it writes."
            )
        print(f"{options.root} is fresh.")
        return 0
    written = leaderboard.build(options.root) + pages.build(options.root)
    if options.readme:
        readme.update(options.readme, options.root)
    print("\n".join(map(str, written)) or f"{options.root} was fresh already.")
    return 0


def dashboard(options) -> int:
    from ann2snn import dashboard, data, networks, tracking
    from ann2snn.conversion import find

    entity = options.entity or os.environ.get("WANDB_ENTITY")
    names = {kind: getattr(options, kind) for kind in dashboard.FILTERS}
    for kind, check in {"dataset": data.check, "network": networks.check, "method": find}.items():
        for name in names[kind]:
            check(name)
    spec = dashboard.spec(entity, options.project or tracking.project(), names)
    print(json.dumps(spec, indent=2) if options.dry_run else dashboard.save(spec))
    return 0


def compare(options) -> int:
    from ann2snn import comparison, records

    made = records.load(options.first), records.load(options.second)
    print(json.dumps(comparison.as_dict(*made), indent=2) if options.json else comparison.report(*made))
    return 0


def recheck(options) -> int:
    from ann2snn import recheck_report
    from ann2snn.sweeps import Settings

    run = Settings(options.runs, options.data_root, options.accept_unofficial_data, options.device)
    return recheck_report.report(options.record, run, options.weights, options.json)


def list_(options) -> int:
    from ann2snn import catalog

    print(catalog.text(options.what))
    return 0


def completion(options) -> int:
    from ann2snn import completion

    print(completion.script(options.shell), end="")
    return 0


def publish(options) -> int:
    from ann2snn import diagnosis, records
    from ann2snn.benchmarks import pages, photographs  # type: ignore
    from ann2snn.data import image_hashes

    trained = _weights(options.runs.glob("sources/*/*/seed*/weights.pt"), "Weights left out")
    _weights(options.results.glob("weights/*/*.pt"), "Weights published before")
    written = records.publish(options.runs, options.results, trained.get, options.uncommitted)
    written += [diagnosis.save(found, options.results) for found in diagnosis.load_all(options.runs)]
    if photographs.load(file := options.runs / photographs.FILE):
        records.write_atomic(options.results / photographs.FILE, file.read_bytes())
        written.append(options.results / photographs.FILE)
    written += image_hashes.publish(options.results, options.data_root)
    written += pages.build(options.results)
    print(f"{len(written)} files written to {options.results}")
    return 0


def _weights(files: Iterable[Path], headline: str) -> dict[str, Path]:
    """Those of the files that are small enough to be published, by the hash of their weights.

    Damaged ones are left out, and named on stderr.
    """
    from ann2snn.checkpoints import load_source

    found = {}
    for path in sorted(files):
        if path.stat().st_size <= LARGEST_PUBLISHED:
            try:
                found[load_source(path)[1]["weights_hash"]] = path
            except UserError as error:
                print(f"{headline}: {error}", file=sys.stderr)
    return found


def import_path(text: str):
    """package.module:name -> the object."""
    module, _, name = text.partition(":")
    sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise UserError(f"{text} cannot be imported: {type(error).__name__}: {error}.") from error
