"""`ann2snn publish`: copies finished records from runs/ to results/."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from ann2snn.errors import UserError
from ann2snn.experiments import diagnosis
from ann2snn.files import write_atomic
from ann2snn.leaderboard import build, photographs
from ann2snn.records import image_hashes
from ann2snn.records.job import Job
from ann2snn.records.packing import unpack
from ann2snn.records.store import load_all, save, weights_path
from ann2snn.training.checkpoints import load_source

LARGEST_PUBLISHED = 2_000_000  # bytes of a file of weights; larger networks are published by recipe and hash


def publish(options) -> int:
    """Copies records, weights and diagnoses from `options.runs` to `options.results`, and rebuilds the pages."""
    trained = _weights(options.runs.glob("sources/*/*/seed*/weights.pt"), "Weights left out")
    _weights(options.results.glob("weights/*/*.pt"), "Weights published before")
    written = publish_records(options.runs, options.results, trained.get, options.uncommitted)
    written += [diagnosis.save(found, options.results) for found in diagnosis.load_all(options.runs)]
    if photographs.load(file := options.runs / photographs.FILE):
        write_atomic(options.results / photographs.FILE, file.read_bytes())
        written.append(options.results / photographs.FILE)
    written += image_hashes.publish(options.results, options.data_root)
    written += build.build_pages(options.results)
    print(f"{len(written)} files written to {options.results}")
    return 0


def _weights(files: Iterable[Path], headline: str) -> dict[str, Path]:
    """Those of the files that are small enough to be published, by the hash of their weights.

    Damaged ones are left out, and named on stderr.
    """
    found = {}
    for path in sorted(files):
        if path.stat().st_size <= LARGEST_PUBLISHED:
            try:
                found[load_source(path)[1]["weights_hash"]] = path
            except UserError as error:
                print(f"{headline}: {error}", file=sys.stderr)
    return found


def publish_records(
    runs: Path | str, results: Path | str, find_weights: Callable[[str], Path | None], uncommitted: bool = False
) -> list[Path]:
    """Copy every finished record of `runs`, and the weights it names, to `results`, and rebuild the leaderboard there.

    Records from code that was not committed stay where they are, unless `uncommitted` says otherwise.
    A record replaces an older one of the same job if it has at least its T's. One that has fewer is left out if it says
    the same of the same weights; else, before anything is copied, a UserError names it. `find_weights(hash)` gives the
    file of those weights, or None where they are not to be had (imported ones): then the record is published without.
    Returns the files written.
    """
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
    return written + build.build(results)


def _says_the_same(record: dict, fuller: dict) -> bool:
    """Whether all of a record's T's are in a fuller one of the same weights, with the same predictions."""
    same = record["source"]["weights_hash"] == fuller["source"]["weights_hash"]
    return same and all(t in fuller["T"] and _said(fuller["T"][t]) == _said(at) for t, at in record["T"].items())


def _said(at: dict) -> dict:
    """Unpacked, since versions of zlib pack the same predictions to other texts."""
    return at["test"] | {"predictions": unpack(at["test"]["predictions"]).tolist()}
