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
from ann2snn.records.store import load_all, published_weights_path, save
from ann2snn.training.checkpoints import load_source

MAX_PUBLISHED_BYTES = 2_000_000  # of a weights file; larger networks are published by recipe and hash only


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
    """The files that are small enough to publish, by the hash of their weights.

    Damaged files are skipped with a message on stderr that begins with `headline`.
    """
    paths = {}
    for path in sorted(files):
        if path.stat().st_size <= MAX_PUBLISHED_BYTES:
            try:
                paths[load_source(path)[1]["weights_hash"]] = path
            except UserError as error:
                print(f"{headline}: {error}", file=sys.stderr)
    return paths


def publish_records(
    runs: Path | str, results: Path | str, find_weights: Callable[[str], Path | None], uncommitted: bool = False
) -> list[Path]:
    """Copies the finished records of `runs`, with their weights, to `results`, and rebuilds the leaderboard there.

    A record replaces an older one of the same job if it has at least the same T. A record with fewer T is skipped if
    the older one has the same weights and the same predictions.

    Args:
        runs: Folder to copy from.
        results: Folder to copy to.
        find_weights: Returns the file of the weights with a given hash, or None if there is none (imported weights);
            the record is then published without weights.
        uncommitted: Whether to publish records that were made from uncommitted code.

    Returns:
        The files written.

    Raises:
        UserError: There is no record to publish, or a published record has T or weights that the new one does not
            have. Nothing is copied then.
    """
    records = load_all(runs)
    if not records:
        raise UserError(f"There is no finished record below {Path(runs) / 'records'}: run a sweep first.")
    new = {record["id"]: record for record in records if uncommitted or record["provenance"]["dirty"] is not True}
    left_out = len(records) - len(new)
    if not new:
        raise UserError(
            f"All records below {runs} were made from code that is not committed: commit it, and run them again."
        )
    if left_out:
        print(
            f"{left_out} records from code that is not committed are left out: commit it, and run them again.",
            file=sys.stderr,
        )
    sources = {Job(**r["job"]).source_id: r["source"]["weights_hash"] for r in new.values()}
    for old in load_all(results):
        job = Job(**old["job"])
        if job.id in new:
            if lost := old["T"].keys() - new[job.id]["T"].keys():
                if _has_same_predictions(new[job.id], old):  # type: ignore
                    del new[job.id]
                    continue
                lost = ", ".join(sorted(lost, key=int))
                raise UserError(
                    f"{job.path(results)} also has T = {lost}: run the job at these T too, then publish it."
                )
        elif sources.get(job.source_id, old["source"]["weights_hash"]) != old["source"]["weights_hash"]:
            raise UserError(
                f"{job.path(results)} was made from other weights than those in {Path(runs)}: run that job again, too."
            )
    written = []
    for record in new.values():
        weights, found = published_weights_path(record, results), find_weights(record["source"]["weights_hash"])
        if found and not weights.exists():
            write_atomic(weights, Path(found).read_bytes())
            written.append(weights)
        written.append(save(record, results))
    return written + build.build(results)


def _has_same_predictions(record: dict, fuller: dict) -> bool:
    """Whether `fuller` has all T of `record`, with the same weights and predictions."""
    same = record["source"]["weights_hash"] == fuller["source"]["weights_hash"]
    return same and all(
        t in fuller["T"] and _unpacked(fuller["T"][t]) == _unpacked(result) for t, result in record["T"].items()
    )


def _unpacked(result: dict) -> dict:
    """The test results with unpacked predictions, since versions of zlib pack the same ones to different texts."""
    return result["test"] | {"predictions": unpack(result["test"]["predictions"]).tolist()}
