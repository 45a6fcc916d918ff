"""Record files: save, load, list."""

import json
import os
from pathlib import Path

from ann2snn.errors import UserError
from ann2snn.files import slug, write_atomic
from ann2snn.reading import DamagedFile, leave_out, read_json
from ann2snn.records.job import Job
from ann2snn.records.schema import validate


def record_fix(path: Path) -> str:
    """What to do about a file that is no valid record."""
    if path.suffix == ".json" and "records" in path.absolute().parts:
        return "remove the file and run its job again"
    return "name a record, a JSON file that a sweep wrote below records/"


def save(record: dict, root: Path | str) -> Path:
    """Write a finished record to its place below `root/records`, and return that path."""
    path = Job(**record["job"]).path(root)
    record = record | {"T": {T: record["T"][T] for T in sorted(record["T"], key=int)}}
    try:
        validate(record)
    except ValueError as error:
        raise UserError(f"The results of this job are no valid record: {error}. {path} is left as it was.") from None
    write_atomic(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return path


def load(path: Path | str) -> dict:
    """The record in a file, checked.

    Raises:
        DamagedFile: It is no JSON, no valid record, or not where its job belongs.
        UserError: It cannot be read.
    """
    path = Path(path)
    record = read_json(path, record_fix(path))
    try:
        validate(record)
    except ValueError as error:
        raise DamagedFile(path, f"is not a valid record: {error}", record_fix(path)) from None
    place = Job(**record["job"]).path("")
    if path.absolute().parts[-len(place.parts) :] != place.parts:
        raise DamagedFile(path, "is not where its job belongs", f"move it to {place}, below any folder")
    return record


def load_whole(path: Path) -> dict | None:
    """The record in a file, or None where there is none; a damaged one counts as none and is named on stderr."""
    try:
        return load(path) if os.path.lexists(path) else None
    except UserError as error:
        leave_out(error)
        return None


def load_all(root: Path | str) -> list[dict]:
    """All finished records below `root/records`, by path. Partial files and temporaries are no records.

    A damaged file is left out and named on stderr. Records of one source must name the same weights: their seeds are
    paired and counted as one.
    """
    files = sorted(p for p in (Path(root) / "records").rglob("*.json") if not p.name.endswith(".partial.json"))
    records, first = [], {}
    for path in files:
        if (record := load_whole(path)) is None:
            continue
        other, weights = first.setdefault(Job(**record["job"]).source_id, (path, record["source"]["weights_hash"]))
        if weights != record["source"]["weights_hash"]:
            raise UserError(f"{other} and {path} are of one source but of different weights; run one of them again.")
        records.append(record)
    return records


def weights_path(record: dict, results: Path | str) -> Path:
    """Where the weights of a published record lie: `weights/<dataset>/<network>-<activation>-seed<k>-<hash8>.pt`."""
    job = Job(**record["job"])
    name = f"{job.source_name.replace('/', '-')}-{record['source']['weights_hash'][:8]}.pt"
    return Path(results) / "weights" / slug(job.dataset) / name
