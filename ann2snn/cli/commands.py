"""The commands: one function each, from parsed options to an exit code.

Each imports what it needs when it runs, so that `ann2snn --help` is fast.
"""

import json
import os
import tempfile
from functools import partial
from pathlib import Path

from ann2snn.cli.output import accuracies, report_skipped
from ann2snn.errors import UserError


def run(options) -> int | None:
    """Runs the command of the parsed `options`, after loading its plug-ins and setting its number of CPU threads."""
    command = COMMANDS[options.command]
    for file in getattr(options, "plugin", ()):
        from ann2snn.methods.registry import load_plugin

        load_plugin(file)
    if not hasattr(options, "threads"):
        return command(options)
    import torch

    from ann2snn.experiments.cpu_threads import choose_threads, cpu_threads

    n, own = options.threads, torch.get_num_threads()
    if n is None and "OMP_NUM_THREADS" not in os.environ and not options.device.startswith("cuda"):
        remember = not getattr(options, "dry_run", False)
        n = choose_threads(getattr(options, "dataset", None), options.runs, own, remember)
    with cpu_threads(n):
        return command(options)


def settings(options):
    """The options of a run as `experiments.sweep.Settings`."""
    from ann2snn.experiments.sweep import Settings
    from ann2snn.tracking import wandb_runs

    return Settings(
        runs=options.runs,
        data_root=options.data_root,
        accept_unofficial=options.accept_unofficial_data,
        device=options.device,
        wandb=wandb_runs.mode(options.wandb),
    )


def reproduce(options) -> int:
    """Runs the jobs of a profile and builds the tables."""
    from ann2snn.cli.reproduce import reproduce

    return reproduce(options, settings(options))


def train(options) -> int:
    """Trains a source network, or loads it, and prints its validation accuracy."""
    from ann2snn.data.registry import load
    from ann2snn.experiments.sweep import check_source, load_or_train

    data = load(options.dataset, options.data_root, accept_unofficial=options.accept_unofficial_data)
    seed = 0 if options.seed is None else options.seed
    which = data, options.network, options.activation, seed, settings(options), options.recipe
    check_source(*which)
    source = load_or_train(*which)
    result = source.result("validation")
    print(f"{source.path}\nvalidation accuracy {100 * result['correct'] / result['n']:.2f} % of {result['n']} images")
    return 0


def import_weights(options) -> int:
    """Imports public weights and prints the command that uses them."""
    from ann2snn.training.pretrained import CHECKPOINTS, import_state_dict, import_weights
    from ann2snn.training.state_dict_formats import FORMATS

    name = options.checkpoint
    chosen = {key: getattr(options, key) for key in ("dataset", "network", "activation")}
    if name in FORMATS:
        if not all(chosen.values()):
            raise UserError(f"A state dict in the format {name} needs --dataset, --network and --activation.")
        path, info = import_state_dict(name, options.file, options.runs, **chosen)
    else:
        if name in CHECKPOINTS and any(chosen.values()):
            raise UserError(f"{name} is one network: leave out --dataset, --network and --activation.")
        path, info = import_weights(name, options.file, options.runs)
    named = " ".join(f"--{name} {info[name]}" for name in ("dataset", "network", "activation", "recipe"))
    print(f"{path}\nnext: ann2snn sweep {named} --runs {options.runs}")
    return 0


def sweep(options) -> int:
    """Converts networks with methods, simulates them and prints a table of accuracies."""
    from ann2snn.cli.sweep import sweep_first_images, sweep_of
    from ann2snn.experiments import sweep as experiments_sweep
    from ann2snn.leaderboard import build
    from ann2snn.methods.registry import find
    from ann2snn.tracking import wandb_runs

    table, run = sweep_of(options), settings(options)
    if options.dry_run:
        from ann2snn.cli.reproduce import listing

        table.check()
        print(listing("sweep", table.parts(), run))
        return 0
    if options.limit:
        with tempfile.TemporaryDirectory() as scratch:
            quick = partial(sweep_first_images, options.limit, Path(scratch))
            outcome = experiments_sweep.sweep([table], run, quick, strict=True)
    else:
        outcome = experiments_sweep.sweep([table], run, strict=True)
    for activation in table.activations:
        left_out = sorted({name for name, _ in table.methods} - {name for name, _ in table.methods_for(activation)})
        reasons = (f"it is for {find(name).required_activation} sources." for name in left_out)
        outcome.skipped += zip((f"{name} on {activation}" for name in left_out), reasons, strict=True)
    if outcome.records:
        print(accuracies(outcome.records))
    if outcome.records and options.limit:
        n = outcome.records[0]["data"]["n"]["test"]
        print(f"\nOnly the first {n} test images were used (--limit): no record is saved.")
    elif outcome.records:
        build.build(options.runs)
        wandb_runs.log_tables(options.runs, options.runs, run.wandb)
        print(f"\nrecords, tables and figures: {options.runs}")
    return report_skipped(outcome)


def diagnose(options) -> int:
    """Prints the rounding and timing errors of every layer."""
    from ann2snn.cli.sweep import training_seeds
    from ann2snn.data.registry import load
    from ann2snn.experiments import diagnosis
    from ann2snn.experiments.sweep import check_source, load_or_train

    data = load(options.dataset, options.data_root, accept_unofficial=options.accept_unofficial_data)
    (seed,) = training_seeds(options)
    which = data, options.network, options.activation, seed, settings(options), options.recipe
    check_source(*which)
    found = diagnosis.diagnose(load_or_train(*which), options.T, options.limit or options.images)
    print(diagnosis.report(found))
    if options.limit:
        print(f"\nOnly the first {found['images']} test images were used (--limit): nothing is saved.")
    else:
        print(f"\n{diagnosis.save(found, options.runs)}")
    return 0


def inspect(options) -> int:
    """Prints how every node of a network is converted."""
    from ann2snn.cli import inspect as inspection

    return inspection.inspect(options)


def leaderboard(options) -> int:
    """Builds all generated files, or checks that they are up to date."""
    from ann2snn.leaderboard import build

    if options.check:
        if stale := build.check(options.root, options.readme):
            also = f" --readme {options.readme}" if options.readme else ""
            raise UserError(
                f"Stale: {', '.join(map(str, stale))}; run `ann2snn leaderboard{also}` and commit the new files."
            )
        print(f"{options.root} is up to date.")
        return 0
    written = build.build(options.root, options.readme)
    print("\n".join(map(str, written)) or f"{options.root} was already up to date.")
    return 0


def dashboard(options) -> int:
    """Saves or prints the W&B dashboard."""
    from ann2snn.data import registry as data_registry
    from ann2snn.methods.registry import find
    from ann2snn.networks import registry as networks_registry
    from ann2snn.tracking import wandb_dashboard, wandb_session

    entity = options.entity or os.environ.get("WANDB_ENTITY")
    names = {kind: getattr(options, kind) for kind in wandb_dashboard.FILTERS}
    for kind, check in {"dataset": data_registry.check, "network": networks_registry.check, "method": find}.items():
        for name in names[kind]:
            check(name)
    spec = wandb_dashboard.spec(entity, options.project or wandb_session.project(), names)
    print(json.dumps(spec, indent=2) if options.dry_run else wandb_dashboard.save(spec))
    return 0


def compare(options) -> int:
    """Prints the comparison of two records, image by image."""
    from ann2snn.leaderboard import paired
    from ann2snn.records import store

    first, second = store.load(options.first), store.load(options.second)
    print(json.dumps(paired.as_dict(first, second), indent=2) if options.json else paired.report(first, second))  # type: ignore
    return 0


def recheck(options) -> int:
    """Recomputes records and prints whether they agree."""
    from ann2snn.experiments import recheck_report
    from ann2snn.experiments.sweep import Settings

    run = Settings(
        runs=options.runs,
        data_root=options.data_root,
        accept_unofficial=options.accept_unofficial_data,
        device=options.device,
    )
    return recheck_report.report(options.record, run, options.weights, options.json)


def list_names(options) -> int:
    """Prints the names of methods, datasets, networks or recipes."""
    from ann2snn.cli import listing

    print(listing.text(options.what))
    return 0


def completion(options) -> int:
    """Prints a script for the completion of a shell."""
    from ann2snn.cli import completion

    print(completion.script(options.shell), end="")
    return 0


def publish(options) -> int:
    """Copies records and weights of runs into the results."""
    from ann2snn.cli.publish import publish

    return publish(options)


COMMANDS = {
    "reproduce": reproduce,
    "train": train,
    "import": import_weights,
    "sweep": sweep,
    "diagnose": diagnose,
    "inspect": inspect,
    "list": list_names,
    "leaderboard": leaderboard,
    "dashboard": dashboard,
    "compare": compare,
    "recheck": recheck,
    "publish": publish,
    "completion": completion,
}
