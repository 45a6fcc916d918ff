"""W&B: a view of training curves, finished records and the leaderboard, in `directory/wandb`.

Nothing is read back from W&B, and nothing here fails or hangs: trouble is one line on stderr, and the work goes on.
Modes: "off"; "offline" (files on this disk: `wandb sync` uploads them, `wandb leet` shows them); "online".
"""

import contextlib
import csv
import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ann2snn.errors import UserError
from ann2snn.files import write_atomic
from ann2snn.reading import DamagedFile, load_or_put_aside, read_json
from ann2snn.records.job import Job

MODES = ("offline", "online", "off")
SETTINGS = {
    "silent": True,
    "console": "off",
    "init_timeout": 20,  # seconds until an unreachable server is given up
    "finish_timeout": 20,  # what is not uploaded by then stays on this disk
    "disable_code": True,
    "disable_git": True,  # a record names its own commit, device and versions
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1.0,  # seconds of history that a kill -9 may cost; wandb's own is 15
}
OFFLINE = {"init_timeout": 300, "finish_timeout": 300}  # no server is waited for, only a slow machine
FORM = 3  # raised when other things of a record are logged; records that were logged before are then logged anew


def mode(requested: str | None = None) -> str:
    """`requested`, else $WANDB_MODE, else "online" where a key for W&B is configured, else "offline"."""
    if requested is None:
        wish = os.environ.get("WANDB_MODE", "").lower()
        wish = {"disabled": "off", "dryrun": "offline", "run": "online", "shared": "online"}.get(wish, wish)
        return wish if wish in MODES else "online" if key_configured() else "offline"
    if requested not in MODES:
        raise UserError(f"W&B's mode is one of {', '.join(MODES)}, not {requested!r}.")
    return requested


def training_logger(source: dict, directory: Path | str, mode: str):
    """A Lightning logger for the training of a source ANN, or None where nothing is to be logged.

    `source`: dataset, data_hash, network, activation, recipe and seed, which make the run's id (`Job.source_id`), and
    whatever else its configuration shall show.
    """
    with _no_trouble("training curves"):
        if wandb := _wandb(mode):
            fields = ("dataset", "data_hash", "network", "activation", "recipe", "seed")
            job = Job(**{field: source[field] for field in fields}, method="", method_version=0)
            name, tags = f"train {job.dataset}/{job.source_name}", [job.dataset, job.network]
            run = _start(wandb, directory, mode, job.source_id, name, _group(job), "training", source, tags)
            run.define_metric("*", step_metric="trainer/global_step")
            return _lightning_logger(run)
    return None


def log_record(record: dict, directory: Path | str, mode: str) -> None:
    """One W&B run for a finished record, its id the job's. A record that was logged already is not repeated.

    Over T: the accuracies and the loss (ANN - SNN, test) in percent, spikes, operations and seconds per test image. A
    table has spikes and operations by layer. `row` of the configuration names the row of the leaderboard, which runs
    share that differ in their seeds only.
    """
    with _no_trouble(f"record {record['id']}"):
        job = Job(**record["job"])
        name = f"{job.label} {job.dataset}/{job.source_name}"
        tags = [job.dataset, job.network, job.method] + [job.options[name] for name in job.options if name == "reset"]
        config = {key: record[key] for key in ("data", "source", "provenance")} | {"size": record["network"]}
        config["row"] = _row(job)
        about = (job.id, name, _group(job), "conversion", record["job"] | config, tags)
        _log_once([FORM, record], directory, mode, about, functools.partial(_fill_record, record))


def _fill_record(record: dict, wandb, run) -> None:
    run.define_metric("T")
    run.define_metric("snn/*", step_metric="T")
    splits = [split for split in ("test", "validation") if record["ann"][split]["n"]]
    ann, losses, layers = {split: _percent(record["ann"][split]) for split in splits}, {}, []
    for T in sorted(record["T"], key=int):
        at, n = record["T"][T], record["T"][T]["test"]["n"]
        row = {f"snn/{split}": _percent(at[split]) for split in splits}
        losses[f"loss/T{T}"] = row["snn/loss"] = ann["test"] - row["snn/test"]
        row["snn/seconds_per_image"] = at["seconds"] / n
        for count in ("spikes", "operations"):
            row[f"snn/{count}_per_image"] = sum(at[count].values()) / n
            layers += [[int(T), count, layer, total / n] for layer, total in at[count].items()]
        run.log({"T": int(T)} | row)
    run.log({"layers": wandb.Table(["T", "count", "layer", "per image"], layers)})
    macs = {"ann/macs_per_image": sum(record["network"]["macs"].values())}
    run.summary.update({f"ann/{split}": accuracy for split, accuracy in ann.items()} | macs | losses)


def _percent(part: dict) -> float:
    return 100 * part["correct"] / part["n"]


def _group(job: Job) -> str:
    return f"{job.dataset}/{job.network}/{job.activation}"


def _row(job: Job) -> str:
    return f"{job.label}, {_group(job)}, {_digest(job.row)[:6]}"


def log_tables(root: Path | str, directory: Path | str, mode: str) -> None:
    """One W&B run for the leaderboard built in `root`: its table and its figures. An unchanged one is not repeated."""
    root = Path(root)
    with _no_trouble("leaderboard"):
        text, figures = (root / "leaderboard.csv").read_text(), sorted((root / "figures").glob("*.png"))
        content = [text, *(hashlib.sha256(path.read_bytes()).hexdigest() for path in figures)]
        about = (_digest(content)[:12], "leaderboard", "leaderboard", "leaderboard", {}, [])
        _log_once(content, directory, mode, about, functools.partial(_fill_tables, text, figures))


def _fill_tables(text: str, figures: list[Path], wandb, run) -> None:
    header, *rows = csv.reader(text.splitlines())
    images = {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures}
    run.log({"leaderboard": wandb.Table(header, rows)} | images)


def _log_once(content, directory: Path | str, mode: str, about: tuple, fill: Callable) -> None:
    """A run that `fill(wandb, run)` fills, unless `content` has been logged under its id before.

    The marker `directory/wandb/logged/<id>` decides, not W&B. Content that has changed since replaces its older run,
    unless that one has been synced.
    """
    marker, digest = Path(directory) / "wandb" / "logged" / about[0], _digest(content)
    before = load_or_put_aside(marker, _logged) or {}
    if before.get("content") == digest or not (wandb := _wandb(mode)):
        return
    run = _start(wandb, directory, mode, *about)
    folder = Path(run.dir).parent
    try:
        fill(wandb, run)
    finally:
        run.finish()
    write_atomic(marker, json.dumps({"content": digest, "run": folder.name}))
    if before and not list((older := folder.with_name(before["run"])).glob("*.synced")):
        shutil.rmtree(older, ignore_errors=True)


def _logged(marker: Path) -> dict:
    """What a marker says was logged. DamagedFile: it is no marker."""
    found = read_json(marker)
    if not (isinstance(found, dict) and all(isinstance(found.get(k), str) for k in ("content", "run"))):
        raise DamagedFile(marker, "is no marker of a logged run", "remove it")
    return found


def _digest(content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# --------------------------------------------------------------------------------------------------- wandb itself


@functools.cache
def _notice(text: str) -> None:
    """A line on stderr, the same one only once."""
    print(f"W&B: {text}", file=sys.stderr)


@contextlib.contextmanager
def _no_trouble(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _notice(f"no {what} ({_line(error)}); going on")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _wandb(mode: str):
    """The package, or None where the mode is "off" or wandb cannot be imported."""
    if mode == "off":
        return None
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb
    except Exception as error:  # a broken installation can raise anything
        absent = isinstance(error, ModuleNotFoundError) and error.name == "wandb"
        reason = "is not installed" if absent else f"cannot be imported ({_line(error)})"
        _notice(f"wandb {reason}; nothing is logged there")
        return None
    return wandb


_unreachable = False  # set once a start online has failed: its time-out is paid once in a process, not once in a run


def _start(wandb, directory, mode, id, name, group, kind, config, tags):
    """A new run; offline where it cannot be started online within the time-out."""
    global _unreachable
    directory = Path(directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # tables that wait to be synced; else in the home directory
        os.environ.setdefault(variable, str(directory / "wandb"))
    start = functools.partial(
        wandb.init,
        project=project(),
        dir=str(directory),
        id=id,
        resume="allow",
        reinit="create_new",
        name=name,
        group=group,
        job_type=kind,
        config=config,
        tags=tags,
    )

    def settings(values):
        return wandb.Settings(**{k: v for k, v in values.items() if k in wandb.Settings.model_fields})

    if mode == "online" and not _unreachable:
        try:
            return start(mode="online", settings=settings(SETTINGS))
        except Exception as error:
            _unreachable = True
            wandb.teardown()  # its service holds the id of the run that failed
            _notice(f"the server cannot be used ({_line(error)}); going on offline")
    return start(mode="offline", settings=settings(SETTINGS | OFFLINE))


def _lightning_logger(run):
    from pytorch_lightning.loggers import WandbLogger

    class Logger(WandbLogger):
        """Trouble with W&B is no trouble of the training. The end of the training is the end of the run."""

        def log_metrics(self, metrics, step=None):
            with _no_trouble("training curves"):
                super().log_metrics(metrics, step)

        def log_hyperparams(self, params):
            with _no_trouble("training curves"):
                super().log_hyperparams(params)

        def finalize(self, status):
            with _no_trouble("training curves"):
                run.finish(exit_code=int(status != "success"))

    return Logger(experiment=run, name=run.name, id=run.id)


def project() -> str:
    return os.environ.get("WANDB_PROJECT", "ann2snn")


def key_configured() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if not (wandb := _wandb("offline")):
        return False
    with contextlib.suppress(Exception):
        from wandb.sdk.lib.wbauth import read_netrc_auth

        settings = wandb.setup().settings
        return bool(settings.api_key or read_netrc_auth(host=settings.base_url))
    return False
