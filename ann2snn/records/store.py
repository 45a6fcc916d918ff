"""Record files: save, load, list."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ann2snn.errors import UserError
from ann2snn.files import slug, write_atomic
from ann2snn.reading import DamagedFile, leave_out, read_json
from ann2snn.records.job import Job
from ann2snn.records.schema import Record, validate


def record_fix(path: Path) -> str:
    """How to fix a file that is not a valid record, for an error message."""
    if path.suffix == ".json" and "records" in path.absolute().parts:
        return "remove the file and run its job again"
    return "name a record, a JSON file that a sweep wrote below records/"


def save(record: Mapping[str, Any], root: Path | str) -> Path:
    """Writes a complete record atomically.

    Args:
        record: A `Record`.
        root: Folder of all results.

    Returns:
        Path of the file, below `root/records`.

    Raises:
        UserError: The record is not valid; the file does not change.
    """
    path = Job(**record["job"]).path(root)
    ordered = {**record, "T": {T: record["T"][T] for T in sorted(record["T"], key=int)}}
    try:
        validate(ordered)
    except ValueError as error:
        raise UserError(f"The results of this job are not a valid record: {error}. {path} did not change.") from None
    write_atomic(path, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    return path


def load(path: Path | str) -> Record:
    """Loads a record and checks it.

    Raises:
        DamagedFile: The file is not JSON, not a valid record, or not at the path of its job.
        UserError: The file cannot be read.
    """
    path = Path(path)
    value = read_json(path, record_fix(path))
    try:
        record = validate(value)
    except ValueError as error:
        raise DamagedFile(path, f"is not a valid record: {error}", record_fix(path)) from None
    expected = Job(**record["job"]).path("")
    if path.absolute().parts[-len(expected.parts) :] != expected.parts:
        raise DamagedFile(path, "is not at the path of its job", f"move it to {expected}, below any folder")
    return record


def load_or_skip(path: Path) -> Record | None:
    """Loads a record; None if the file is absent, or damaged, with a notice on stderr."""
    try:
        return load(path) if os.path.lexists(path) else None
    except UserError as error:
        leave_out(error)
        return None


def load_all(root: Path | str) -> list[Record]:
    """Loads all complete records below `root/records`, sorted by path. Damaged files are skipped with a notice.

    Raises:
        UserError: Two records of one source have different weights. Their results must not be paired.
    """
    files = sorted(p for p in (Path(root) / "records").rglob("*.json") if not p.name.endswith(".partial.json"))
    records: list[Record] = []
    weights_of_source: dict[str, tuple[Path, str]] = {}
    for path in files:
        record = load_or_skip(path)
        if record is None:
            continue
        weights = record["source"]["weights_hash"]
        other, other_weights = weights_of_source.setdefault(Job(**record["job"]).source_id, (path, weights))
        if weights != other_weights:
            raise UserError(f"{other} and {path} are of one source but of different weights; run one of them again.")
        records.append(record)
    return records


def published_weights_path(record: Record, results: Path | str) -> Path:
    """Path of the weights of a published record: `weights/<dataset>/<network>-<activation>-seed<k>-<hash8>.pt`."""
    job = Job(**record["job"])
    name = f"{job.source_name.replace('/', '-')}-{record['source']['weights_hash'][:8]}.pt"
    return Path(results) / "weights" / slug(job.dataset) / name
