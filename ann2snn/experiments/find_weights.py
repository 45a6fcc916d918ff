"""The file with the weights of a record."""

from pathlib import Path

from ann2snn import reading
from ann2snn.errors import UserError
from ann2snn.experiments.estimate import format_duration
from ann2snn.records import store
from ann2snn.records.job import Job
from ann2snn.records.schema import Record
from ann2snn.training import checkpoints, pretrained
from ann2snn.training.recipes import RECIPES


def find_weights(path: Path, record: Record, runs: Path = Path("runs")) -> Path:
    """Finds the weights of a record: published beside it, or trained or imported into `runs`.

    Args:
        path: The record's file.
        record: The record.
        runs: Folder of this machine's results.

    Raises:
        UserError: There are none; the message names the command that makes them.
    """
    roots = [*path.resolve().parents, runs]
    published = [store.published_weights_path(record, root) for root in roots]
    trained = [file for root in roots for file in root.glob("sources/*/*/*/weights.pt")]
    job, weights_hash = record["job"], record["source"]["weights_hash"]
    expected = {
        "network": job["network"],
        "activation": job["activation"],
        "recipe": job["recipe"],
        "seed": job["seed"],
        "weights_hash": weights_hash,
    }
    for file in filter(Path.is_file, published + trained):
        if expected.items() <= _read_info(file).items():
            return file
    raise UserError(
        f"There are no weights with the recorded hash {weights_hash[:12]}... beside {path} or in {runs}:"
        f" {_how_to_make_weights(record)}, or name their file with --weights."
    )


def _how_to_make_weights(record: Record) -> str:
    """The command that makes the weights of a record."""
    job = Job(**record["job"])
    options = f"--dataset {job.dataset} --network {job.network} --activation {job.activation}"
    recipe, _, digest = job.recipe.rpartition("-")
    if job.seed is None:
        for name, checkpoint in pretrained.CHECKPOINTS.items():
            if checkpoint.recipe == job.recipe:
                file = f"{checkpoint.file} of {checkpoint.url}"
                return f"import them with `ann2snn import {name} FILE`, FILE being {file}"
        return (
            f"import them with `ann2snn import {recipe} FILE {options}`, FILE being the one whose sha256 begins with"
            f" {digest}"
        )
    plan = RECIPES.get(recipe)
    if plan is None or plan.key != job.recipe:
        return f"their recipe {job.recipe} is not in this version; check out the commit in the record"
    seconds = record["source"]["training_seconds"]
    duration = f" in {format_duration(seconds)}" if seconds else ""
    command = f"ann2snn train {options} --seed {job.seed} --recipe {recipe}"
    return f"`{command}` trains them{duration} on the machine of the record, and similar ones on other machines"


def _read_info(path: Path) -> dict:
    """The info in a weights file; empty if the file cannot be read."""
    try:
        content = reading.read_bytes(path, "train the source again")
        return dict(checkpoints.load_tensors(content)["info"])
    except Exception:  # a damaged pickle can raise anything
        return {}
