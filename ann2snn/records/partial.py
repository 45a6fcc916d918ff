"""Partial results of a job that is running, so that an interrupted job resumes."""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ann2snn.files import remove, write_atomic
from ann2snn.reading import DamagedFile, put_aside, read_json
from ann2snn.records.job import Job
from ann2snn.records.packing import pack

ENVIRONMENT_FIELDS = ("versions", "device", "cpu", "threads", "batch", "calibration_hash")
LATER_ENVIRONMENT_FIELDS = ("engine", "method_code")  # early records lack them


class PartialResults:
    """The computed units of a running job, in one file beside its record.

    A unit is one chunk of images of one split, simulated over one grid of time steps. Units of an earlier run are
    reused if its environment was the same, its code equally clean, and their grid is planned again.

    Args:
        job: The job.
        root: Folder of all results.
        record: The record to be completed. Its provenance states the environment.
        grids: The planned grids: time steps that one simulation reads out.
        dirty: Whether the code differs from its commit; None without git.
    """

    def __init__(
        self, job: Job, root: Path | str, record: Mapping[str, Any], grids: list[list[int]], dirty: bool | None
    ):
        self.path = job.path(root).with_suffix(".partial.json")
        self.fingerprint = f"{fingerprint(record)} {dirty}"
        self.units: dict[str, dict] = {}
        planned = {_grid_text(grid) for grid in grids}
        for key, unit in self._load().items():
            if key.partition(" T ")[2] in planned:
                self.units[key] = unit

    def _load(self) -> dict[str, dict]:
        """The units in the file, if they are of the same environment."""
        if not self.path.exists():
            return {}
        try:
            content = read_json(self.path)
            if content["digest"] != _digest([content["fingerprint"], content["units"]]):
                raise ValueError
            return dict(content["units"]) if content["fingerprint"] == self.fingerprint else {}
        except DamagedFile as error:
            put_aside(error, self.path)
        except (ValueError, TypeError, KeyError, RecursionError):
            print(f"{self.path} is damaged or of an older version; its results are computed again.", file=sys.stderr)
        return {}

    @staticmethod
    def key(split: str, start: int, grid: list[int]) -> str:
        """Key of the unit of the chunk that begins at image `start`, over a grid of time steps."""
        return f"{split} {start} T {_grid_text(grid)}"

    def __contains__(self, key: str) -> bool:
        return key in self.units

    def write(self, key: str, results: dict) -> None:
        """Adds a unit and saves the file. `results` maps a number of time steps to its results."""
        self.units[key] = results
        content = {"fingerprint": self.fingerprint, "units": self.units}
        write_atomic(self.path, json.dumps(content | {"digest": _digest([self.fingerprint, self.units])}))

    def merge(self, t: int) -> dict:
        """Results of all chunks after t steps, as a record holds them."""
        merged: dict = {}
        for split in ("test", "validation"):
            chunks = self._chunks(split, t)
            merged[split] = {name: sum(c[name] for c in chunks) for name in ("n", "correct", "undecided")}
            if split == "test":
                merged[split]["predictions"] = pack([p for c in chunks for p in c["predictions"]])
                merged["seconds"] = round(sum(c["seconds"] for c in chunks), 4)
                merged["latency"] = chunks[0]["latency"]
                for name in ("spikes", "operations"):
                    merged[name] = {layer: sum(c[name][layer] for c in chunks) for layer in chunks[0][name]}
        return merged

    def _chunks(self, split: str, t: int) -> list[dict]:
        """Results of the chunks of a split after t steps, in the order of the images."""
        by_start = {}
        for key, unit in self.units.items():
            unit_split, start, *_ = key.split()
            if unit_split == split and str(t) in unit:
                by_start[int(start)] = unit[str(t)]
        return [by_start[start] for start in sorted(by_start)]

    def close(self) -> None:
        """Removes the file: the record is complete."""
        remove(self.path)


def fingerprint(record: Mapping[str, Any]) -> str:
    """A digest of the job, weights and environment. Results with equal fingerprints may be merged into one record."""
    provenance = record["provenance"]
    environment = [provenance[name] for name in ENVIRONMENT_FIELDS]
    environment += [provenance.get(name) for name in LATER_ENVIRONMENT_FIELDS]
    return _digest([record["id"], record["source"]["weights_hash"], environment])


def _grid_text(grid: list[int]) -> str:
    return " ".join(map(str, grid))


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
