"""Logging of trainings, records and the leaderboard to W&B.

Nothing is read back from W&B. An error of W&B never stops or delays a command: it is reported in one line on stderr.
Modes: "off"; "offline", which writes files to `directory/wandb` (`wandb sync` uploads them, `wandb leet` shows them);
"online".
"""

import csv
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ann2snn.errors import UserError
from ann2snn.files import write_atomic
from ann2snn.reading import DamagedFile, load_or_put_aside, read_json
from ann2snn.records.job import Job
from ann2snn.records.schema import Counts, Record, SNNCounts
from ann2snn.tracking.wandb_session import (
    RunInfo,
    import_wandb,
    key_configured,
    lightning_logger,
    notice_errors,
    start_run,
)

MODES = ("offline", "online", "off")
LOG_VERSION = 3  # increased when a run logs other values; records are then logged again


def mode(requested: str | None = None) -> str:
    """The mode of W&B: `requested`, else $WANDB_MODE, else "online" if a key is configured, else "offline".

    Raises:
        UserError: `requested` is not one of `MODES`.
    """
    if requested is not None:
        if requested not in MODES:
            raise UserError(f"W&B's mode is one of {', '.join(MODES)}, not {requested!r}.")
        return requested
    variable = os.environ.get("WANDB_MODE", "").lower()
    variable = {"disabled": "off", "dryrun": "offline", "run": "online", "shared": "online"}.get(variable, variable)
    if variable in MODES:
        return variable
    return "online" if key_configured() else "offline"


def training_logger(source: dict, directory: Path | str, mode: str):
    """A Lightning logger for the training of a source ANN.

    Args:
        source: Info of the source; the configuration of the run. Its dataset, data_hash, network, activation, recipe
            and seed make the id of the run (`Job.source_id`).
        directory: Folder for W&B's files.
        mode: One of `MODES`.

    Returns:
        None if W&B is off or fails.
    """
    with notice_errors("training curves"):
        if wandb := import_wandb(mode):
            fields = ("dataset", "data_hash", "network", "activation", "recipe", "seed")
            job = Job(**{field: source[field] for field in fields}, method="", method_version=0)
            name, tags = f"train {job.dataset}/{job.source_name}", [job.dataset, job.network]
            run = start_run(wandb, directory, mode, RunInfo(job.source_id, name, _group(job), "training", source, tags))
            run.define_metric("*", step_metric="trainer/global_step")
            return lightning_logger(run)
    return None


def log_record(record: Record, directory: Path | str, mode: str) -> None:
    """Logs a record as a W&B run whose id is that of the job, unless it was logged before.

    Logged over T: accuracies and the loss (ANN - SNN, test) in percent; spikes, operations and seconds per test image.
    A table holds spikes and operations by layer. `row` of the configuration is shared by runs that differ only in their
    seeds, as rows of the leaderboard are.

    Args:
        record: The record.
        directory: Folder for W&B's files.
        mode: One of `MODES`.
    """
    with notice_errors(f"record {record['id']}"):
        job = Job(**record["job"])
        name = f"{job.label} {job.dataset}/{job.source_name}"
        tags = [job.dataset, job.network, job.method]
        if "reset" in job.options:
            tags.append(job.options["reset"])
        config = {
            **record["job"],
            "data": record["data"],
            "source": record["source"],
            "provenance": record["provenance"],
            "size": record["network"],
            "row": _row(job),
        }
        info = RunInfo(job.id, name, _group(job), "conversion", config, tags)
        _log_once([LOG_VERSION, record], directory, mode, info, functools.partial(_log_results, record))


def _log_results(record: Record, wandb, run) -> None:
    run.define_metric("T")
    run.define_metric("snn/*", step_metric="T")
    splits = [split for split in ("test", "validation") if record["ann"][split]["n"]]
    ann = {split: _percent(record["ann"][split]) for split in splits}
    losses, layers = {}, []
    for T in sorted(record["T"], key=int):
        results = record["T"][T]
        n = results["test"]["n"]
        row = {f"snn/{split}": _percent(results[split]) for split in splits}
        losses[f"loss/T{T}"] = row["snn/loss"] = ann["test"] - row["snn/test"]
        row["snn/seconds_per_image"] = results["seconds"] / n
        for count in ("spikes", "operations"):
            row[f"snn/{count}_per_image"] = sum(results[count].values()) / n
            layers += [[int(T), count, layer, total / n] for layer, total in results[count].items()]
        run.log({"T": int(T)} | row)
    run.log({"layers": wandb.Table(["T", "count", "layer", "per image"], layers)})
    macs = {"ann/macs_per_image": sum(record["network"]["macs"].values())}
    run.summary.update({f"ann/{split}": accuracy for split, accuracy in ann.items()} | macs | losses)


def _percent(part: Counts | SNNCounts) -> float:
    return 100 * part["correct"] / part["n"]


def _group(job: Job) -> str:
    return f"{job.dataset}/{job.network}/{job.activation}"


def _row(job: Job) -> str:
    return f"{job.label}, {_group(job)}, {_digest(job.row)[:6]}"


def log_tables(root: Path | str, directory: Path | str, mode: str) -> None:
    """Logs the table and the figures of the leaderboard in `root` as a W&B run, unless they are unchanged.

    Args:
        root: Folder of the leaderboard.
        directory: Folder for W&B's files.
        mode: One of `MODES`.
    """
    root = Path(root)
    with notice_errors("leaderboard"):
        text, figures = (root / "leaderboard.csv").read_text(), sorted((root / "figures").glob("*.png"))
        content = [text, *(hashlib.sha256(path.read_bytes()).hexdigest() for path in figures)]
        info = RunInfo(_digest(content)[:12], "leaderboard", "leaderboard", "leaderboard", {}, [])
        _log_once(content, directory, mode, info, functools.partial(_log_leaderboard, text, figures))


def _log_leaderboard(text: str, figures: list[Path], wandb, run) -> None:
    header, *rows = csv.reader(text.splitlines())
    images = {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures}
    run.log({"leaderboard": wandb.Table(header, rows)} | images)


def _log_once(content, directory: Path | str, mode: str, info: RunInfo, log: Callable) -> None:
    """Starts a run and calls `log(wandb, run)`, unless `content` was logged under its id before.

    The marker `directory/wandb/logged/<id>` decides, not W&B. The run of changed content replaces the older run, unless
    that one was synced.
    """
    marker, digest = Path(directory) / "wandb" / "logged" / info.id, _digest(content)
    before = load_or_put_aside(marker, _load_marker) or {}
    if before.get("content") == digest or not (wandb := import_wandb(mode)):
        return
    run = start_run(wandb, directory, mode, info)
    folder = Path(run.dir).parent
    try:
        log(wandb, run)
    finally:
        run.finish()
    write_atomic(marker, json.dumps({"content": digest, "run": folder.name}))
    if before:
        older = folder.with_name(before["run"])
        if not list(older.glob("*.synced")):
            shutil.rmtree(older, ignore_errors=True)


def _load_marker(path: Path) -> dict:
    """Digest of the content and folder of a logged run."""
    marker = read_json(path)
    if not (isinstance(marker, dict) and all(isinstance(marker.get(key), str) for key in ("content", "run"))):
        raise DamagedFile(path, "is not the marker of a logged run", "remove it")
    return marker


def _digest(content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# --------------------------------------------------------------------------------------------------- wandb itself
