"""Records as files: one JSON file for each job, written whole or not at all."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ann2snn.errors import UserError
from ann2snn.files import write_atomic
from ann2snn.foreign_files import record_fix
from ann2snn.records.job import Job, slug
from ann2snn.records.packing import unpack
from ann2snn.records.reading import DamagedFile, leave_out, read_json
from ann2snn.records.validation import validate


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


def publish(
    runs: Path | str, results: Path | str, find_weights: Callable[[str], Path | None], uncommitted: bool = False
) -> list[Path]:
    """Copy every finished record of `runs`, and the weights it names, to `results`, and rebuild the leaderboard there.

    Records from code that was not committed stay where they are, unless `uncommitted` says otherwise.
    A record replaces an older one of the same job if it has at least its T's. One that has fewer is left out if it says
    the same of the same weights; else, before anything is copied, a UserError names it. `find_weights(hash)` gives the
    file of those weights, or None where they are not to be had (imported ones): then the record is published without.
    Returns the files written.
    """
    from ann2snn import leaderboard

    made = load_all(runs)
    if not made:
        raise UserError(f"There is no finished record below {Path(runs) / 'records'}: run a sweep first.")
    new = {record["id"]: record for record in made if uncommitted or record["provenance"]["dirty"] is not True}
    left_out = len(made) - len(new)
    if not new:
        raise UserError(
            f"All records below {runs} were made from code that is not committed: commit, and run them again."
        )
    if left_out:
        print(
            f"{left_out} records from code that is not committed are left out: commit, and run them again.",
            file=sys.stderr,
        )
    sources = {Job(**r["job"]).source_id: r["source"]["weights_hash"] for r in new.values()}
    for old in load_all(results):
        job = Job(**old["job"])
        if job.id in new:
            if lost := old["T"].keys() - new[job.id]["T"].keys():
                if _says_the_same(new[job.id], old):
                    del new[job.id]
                    continue
                lost = ", ".join(sorted(lost, key=int))
                raise UserError(
                    f"{job.path(results)} also has T = {lost}: run that job at them too before publishing it."
                )
        elif sources.get(job.source_id, old["source"]["weights_hash"]) != old["source"]["weights_hash"]:
            raise UserError(
                f"{job.path(results)} is of other weights than {Path(runs)} has for its source: run that job again too."
            )
    written = []
    for record in new.values():
        weights, found = weights_path(record, results), find_weights(record["source"]["weights_hash"])
        if found and not weights.exists():
            write_atomic(weights, Path(found).read_bytes())
            written.append(weights)
        written.append(save(record, results))
    return written + leaderboard.build(results)


def _says_the_same(record: dict, fuller: dict) -> bool:
    """Whether all of a record's T's are in a fuller one of the same weights, with the same predictions."""
    same = record["source"]["weights_hash"] == fuller["source"]["weights_hash"]
    return same and all(t in fuller["T"] and _said(fuller["T"][t]) == _said(at) for t, at in record["T"].items())


def _said(at: dict) -> dict:
    """Unpacked, since versions of zlib pack the same predictions to other texts."""
    return at["test"] | {"predictions": unpack(at["test"]["predictions"]).tolist()}
