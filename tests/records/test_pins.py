"""What is stored stays what it was: job ids, recipe keys, weights and records, as `pins.json` has them.

`python tests/records/test_pins.py` writes `pins.json` again, after a change that is meant to change one of them.
"""

import hashlib
import json
from pathlib import Path

from ann2snn.records.job import Job
from ann2snn.records.packing import unpack
from ann2snn.records.store import load
from ann2snn.training.checkpoints import load_source
from ann2snn.training.recipes import RECIPES

RESULTS = Path(__file__).parents[2] / "results"
PINS = Path(__file__).with_name("pins.json")


def ten_records() -> list[Path]:
    """Every so many-th record, from the first to the last."""
    paths = sorted((RESULTS / "records").rglob("*.json"))
    return [paths[i * (len(paths) - 1) // 9] for i in range(10)]


def unpacked(value):
    """With predictions and labels as lists: versions of zlib pack the same ones to other texts."""
    if isinstance(value, dict):
        return {key: unpacked(x) for key, x in value.items()}
    packed = isinstance(value, str) and value[:3] in ("u1:", "u2:", "u4:")
    return unpack(value).tolist() if packed else value


def digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def weights_hash(file: Path) -> str:
    return load_source(file)[1]["weights_hash"]


def job(path: Path) -> Job:
    return Job(**load(path)["job"])


def name(path: Path) -> str:
    return path.relative_to(RESULTS).as_posix()


def test_job_ids_and_paths_are_what_they_were():
    for path, pin in json.loads(PINS.read_text())["jobs"].items():
        found = job(RESULTS / path)
        assert {"id": found.id, "source_id": found.source_id} == pin
        assert found.path(RESULTS) == RESULTS / path


def test_keys_of_all_recipes_are_what_they_were():
    pinned = json.loads(PINS.read_text())["recipes"]
    assert {name: recipe.key for name, recipe in RECIPES.items() if name in pinned} == pinned


def test_committed_weights_are_what_they_were():
    pinned = json.loads(PINS.read_text())["weights"]
    assert {file: weights_hash(RESULTS / file) for file in pinned} == pinned


def test_records_are_what_they_were():
    pinned = json.loads(PINS.read_text())["records"]
    assert {path: digest(unpacked(load(RESULTS / path))) for path in pinned} == pinned


if __name__ == "__main__":
    chosen = ten_records()
    pins = {
        "jobs": {name(path): {"id": job(path).id, "source_id": job(path).source_id} for path in chosen},
        "recipes": {name: recipe.key for name, recipe in RECIPES.items()},
        "weights": {name(file): weights_hash(file) for file in sorted((RESULTS / "weights").rglob("*.pt"))},
        "records": {name(path): digest(unpacked(load(path))) for path in chosen},
    }
    PINS.write_text(json.dumps(pins, indent=1) + "\n")
