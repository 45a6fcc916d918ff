"""Whatever is in a file that is read back: it is accepted as valid, or one sentence names the file."""

import copy
import json
import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mutations import DEEP, damaged_json, damaged_value
from sources import put

from ann2snn import reading
from ann2snn.benchmarks.speed import page as speed_page
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments import diagnosis, recheck, run_job
from ann2snn.experiments.source import SourceANN
from ann2snn.experiments.sweep import Settings, Sweep
from ann2snn.leaderboard import paired, photographs
from ann2snn.leaderboard.pages import leaderboard
from ann2snn.reading import put_aside, read_json
from ann2snn.records import image_hashes, store
from ann2snn.records.job import Job
from ann2snn.records.partial import PartialResults
from ann2snn.tracking import wandb_runs
from ann2snn.training import checkpoints, source_info

RESULTS = Path(__file__).parents[2] / "results"
KINDS = {
    "cut": b'{"T": {"1',
    "deep": b"[" * DEEP + b"]" * DEEP,
    "nested": b'{"a":' * 100 + b"1" + b"}" * 100,
    "long number": b'{"T": ' + b"1" * 5000 + b"}",
    "400 digits": b'{"T": ' + b"1" * 400 + b"}",
    "not UTF-8": b'{"T": "\xff"}',
    "half a character": b'{"T": "\\ud800"}',
    "empty": b"",
    "a list": b"[1, 2]",
    "null": b"null",
    "strange": b'{"T": {"x": []}, "results": 3, "units": 1, "content": [], "rows": {}, "what": "?"}',
    "folder": None,
    "pipe": None,
}


def spoil(path, kind):
    """Puts something in the place of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(KINDS[kind])


@pytest.fixture(scope="module")
def small():
    """A committed record of the digits with two T's."""
    folder = RESULTS / "records/digits/digits_plain/threshold_relu-1/seed0"
    record = json.loads(next(folder.glob("optimal-soft-*.json")).read_text())
    record["T"] = {T: record["T"][T] for T in ("1", "16")}
    return record


def consistent(record):
    """The record with the id of its job, where that can be computed."""
    try:
        return record | {"id": Job(**record["job"]).id}
    except Exception:
        return record


def use(path, good, root):
    """What the commands read of a record; UserError for what they refuse."""
    record = store.load(path)
    kept = store.load_all(root)
    assert [r["id"] for r in kept if r["job"]["method"] == "other"] == [good["id"]] and len(kept) == 2
    leaderboard.markdown(kept)
    leaderboard.csv_text(kept)
    paired.report(record, good)
    return record


def campaign(small, folder, seed, n):
    """Damages the record n times -> how often it stayed valid, was refused by `load`, and later."""
    rng, settings, outcomes = (
        random.Random(seed),
        Settings(folder, device="cpu"),
        {"valid": 0, "refused": 0, "later": 0},
    )
    other = copy.deepcopy(small)
    other["job"]["method"] = "other"
    good, root = consistent(other), folder / "results"
    store.save(good, root)
    for _ in range(n):
        path = Job(**small["job"]).path(root)
        if rng.random() < 0.3:  # a job that is no other's, in its place
            mutant = consistent(small | {"job": damaged_value(small["job"], rng)})
            content = json.dumps(mutant).encode()
            with suppress(Exception):  # an id or a path that there cannot be
                place = Job(**mutant["job"]).path(root)
                if place.resolve().is_relative_to(root / "records"):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content)
                    path = place
        else:
            content = damaged_json(small, rng)
        path.write_bytes(content)
        try:
            store.load(path)
        except UserError as error:
            assert str(path) in str(error), content[:500]
            assert [record["id"] for record in store.load_all(root)] == [good["id"]]
            outcomes["refused"] += 1
        else:
            try:
                use(path, good, root)
                recheck.recheck(path, settings)
                outcomes["valid"] += 1
            except UserError:
                outcomes["later"] += 1
        path.unlink()
    return outcomes


@pytest.fixture
def without_simulation(monkeypatch):
    """`recheck` reads everything, and computes nothing."""
    monkeypatch.setattr(recheck, "_compare", lambda *_: [])
    weights = next((RESULTS / "weights/digits").glob("digits_plain-threshold_relu-1-seed0-*.pt"))
    digits = load("digits")
    found = SourceANN(digits, weights)
    known = {"digits": digits}
    monkeypatch.setattr(recheck, "load", lambda name, *how, **more: known.get(name) or load(name, *how, **more))
    monkeypatch.setattr(recheck, "find_weights", lambda *_: weights)
    monkeypatch.setattr(recheck, "SourceANN", lambda data, *_: found)


def test_500_damaged_records(small, tmp_path, without_simulation, capsys):
    outcomes = campaign(small, tmp_path, 0, 500)
    assert outcomes["refused"] > 300 and outcomes["valid"] > 20


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_damaged_records(small, tmp_path, without_simulation, capsys, seed):
    outcomes = campaign(small, tmp_path, seed, 2000)
    with capsys.disabled():
        print(f"\nseed {seed}: {outcomes}")


def info_campaign(folder, seed, n):
    """Damages the info of a source n times -> how often it was read and refused."""
    rng, digits, outcomes = random.Random(seed), load("digits"), {"read": 0, "refused": 0}
    held = torch.load(put(folder), weights_only=True)
    held["info"] |= {
        "normalization": {"mean": [0.5], "std": [0.25], "scale": 16.0},
        "shape": list(held["info"]["shape"]),
    }
    path = folder / "elsewhere" / "weights.pt"
    path.parent.mkdir(exist_ok=True)
    for _ in range(n):
        torch.save(held | {"info": damaged_value(held["info"], rng)}, path)
        try:
            source = SourceANN(digits, path)
            source.net(next(source.data.test.batches(2))[0])
            outcomes["read"] += 1
        except UserError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
    return outcomes


def test_200_damaged_infos(tmp_path):
    outcomes = info_campaign(tmp_path, 0, 200)
    assert outcomes["refused"] > 100 and outcomes["read"] > 5


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1, 6))
def test_many_damaged_infos(tmp_path, capsys, seed):
    outcomes = info_campaign(tmp_path, seed, 1000)
    with capsys.disabled():
        print(f"\nseed {seed}: {outcomes}")


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        ({"normalization": {"mean": [0.5], "std": [0.0], "scale": 1.0}}, "not a mean, a standard deviation"),
        ({"normalization": {"mean": [0.5, 0.5], "std": [1.0], "scale": 1.0}}, "not of 1 channels"),
        ({"normalization": "imagenet"}, "'normalization'] is not a mapping"),
        ({"in_chans": 3}, "classes, channels and image sizes"),
        ({"num_classes": 10**400}, "an integer of 1329 bits"),
        ({"shape": "digits"}, "'shape'] is not a list"),
        ({"seed": None}, "only one of its seed and data hash"),
    ],
)
def test_an_odd_info_is_named(tmp_path, change, defect):
    info = torch.load(put(tmp_path), weights_only=True)["info"]
    source_info.validate(info)
    with pytest.raises(ValueError) as error:
        source_info.validate(info | change)
    assert defect in str(error.value)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_no_name_leads_out_of_the_folder(make_record, tmp_path, name):
    with pytest.raises(UserError, match=f"its network is '{name}'"):
        store.save(make_record(network=name), tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_one_damaged_file_costs_that_file(kind, make_record, tmp_path, capsys):
    good = make_record()
    store.save(good, tmp_path)
    path = Job(**make_record(method="opi")["job"]).path(tmp_path)
    spoil(path, kind)
    assert store.load_all(tmp_path) == [good]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(str(path)) and line.endswith(": left out.")
    with pytest.raises(UserError, match=rf"^{path} .*; remove the file and run its job again\.$"):
        store.load(path)
    assert reading.load_or_put_aside(path, store.load) is None and not os.path.lexists(path)
    assert f"{path.name}.damaged" in capsys.readouterr().err and os.path.lexists(f"{path}.damaged")


def test_a_file_that_is_not_there_is_not_to_be_removed(make_record, tmp_path):
    with pytest.raises(UserError) as error:
        store.load(tmp_path / "nothing.json")
    assert str(error.value) == f"{tmp_path / 'nothing.json'} cannot be read: No such file or directory."
    record = make_record()
    record["T"]["8"]["seconds"] = float("nan")
    with pytest.raises(UserError) as error:
        store.save(record, tmp_path)
    assert "remove" not in str(error.value) and "is nan" in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_partial_result_is_put_aside(kind, make_record, tmp_path, capsys):
    record = make_record()
    job = Job(**record["job"])
    path = job.path(tmp_path).with_suffix(".partial.json")
    spoil(path, kind)
    partial = PartialResults(job, tmp_path, record, [[8]], False)
    assert partial.units == {}
    partial.write("test 0 T 8", {})
    assert path.is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_diagnosis_is_left_out(kind, tmp_path, capsys):
    found = json.loads(next((RESULTS / "diagnosis/cifar10").glob("*.json")).read_text())
    path = diagnosis.save(found, tmp_path)
    assert diagnosis.load_all(tmp_path) == [found]
    other = path.with_name("other.json")
    spoil(other, kind)
    assert diagnosis.load_all(tmp_path) == [found]
    assert str(other) in capsys.readouterr().err
    spoil(path, kind)
    assert diagnosis.save(found, tmp_path) == path and diagnosis.load(path) == found
    assert f"{path.name}.damaged" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_photographs_speeds_and_hashes_are_left_out(kind, tmp_path, capsys):
    shutil.copy(RESULTS / photographs.FILE, tmp_path)
    whole = photographs.table(tmp_path)
    assert whole == photographs.table(RESULTS) and "Not run" not in whole
    spoil(path := tmp_path / photographs.FILE, kind)
    assert photographs.table(tmp_path).startswith("Not run") and str(path) in capsys.readouterr().err

    file = next((RESULTS / "speed").glob("counting-*.json"))
    shutil.copy(file, tmp_path / "speed.json")
    spoil(path := tmp_path / file.name, kind)
    (kept,) = [record for record in speed_page.load_all(tmp_path) if record["what"] == "counting"]
    assert kept == json.loads(file.read_text()) and str(path) in capsys.readouterr().err

    job = Job("digits", "d" * 64, "n", "relu", "r-0", 0, "m", 1)
    spoil(path := image_hashes.hashes_path(job.dataset, job.data_hash, tmp_path), kind)
    with pytest.raises(UserError, match=str(path)):
        image_hashes.matching_indices(job, load("digits"), [tmp_path])


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_marker_of_wandb_is_put_aside(kind, tmp_path, capsys):
    spoil(marker := tmp_path / "marker", kind)
    assert reading.load_or_put_aside(marker, wandb_runs._load_marker) is None and not os.path.lexists(marker)
    assert "marker.damaged" in capsys.readouterr().err
    assert reading.load_or_put_aside(marker, wandb_runs._load_marker) is None and capsys.readouterr().err == ""
    marker.write_text('{"content": "a", "run": "b"}')
    assert wandb_runs._load_marker(marker) == {"content": "a", "run": "b"}


def test_damaged_files_are_put_aside_beside_one_another(tmp_path, capsys):
    for name in ("a.damaged", "a.damaged1"):
        path = tmp_path / "a"
        path.write_text("{")
        with pytest.raises(reading.DamagedFile) as error:
            read_json(path)
        put_aside(error.value, path)
        assert (tmp_path / name).read_text() == "{"
    assert "a.damaged1" in capsys.readouterr().err


def test_a_named_pipe_in_place_of_weights(tmp_path):
    os.mkfifo(path := tmp_path / "weights.pt")
    with pytest.raises(UserError, match="is a named pipe, not a file"):
        checkpoints.load_source(path)


@pytest.mark.parametrize("kind", ["cut", "folder", "pipe"])
def test_a_sweep_runs_the_job_of_a_damaged_record_again(kind, tmp_path, capsys):
    digits, fields = load("digits"), ("digits_plain", "threshold_relu:1", 0)
    source = SourceANN(digits, put(tmp_path))
    table = Sweep("t", "digits", *((x,) for x in fields), (("optimal", {}),), (1,))
    (job,) = table.jobs(digits, *fields)
    whole = run_job.run(job, [1], source, tmp_path)
    spoil(path := job.path(tmp_path), kind)
    again = run_job.run(job, [1], source, tmp_path)
    assert f"put aside as {path.name}.damaged." in capsys.readouterr().err
    assert again["T"]["1"]["test"] == whole["T"]["1"]["test"] and store.load(path)["id"] == job.id


def test_the_tables_are_built_from_the_rest(ann2snn, make_record, tmp_path):
    store.save(make_record(), tmp_path)
    spoil(path := store.save(make_record(method="opi"), tmp_path), "cut")
    code, out, err = ann2snn("leaderboard --root .")
    assert code == 0 and "LEADERBOARD.md" in out and err.count("\n") == 1
    assert err.startswith(str(path.relative_to(tmp_path))) and err.endswith(": left out.\n")
    assert "optimal" in (tmp_path / "leaderboard.csv").read_text()
    for line in (f"compare {path} {path}", f"recheck {path}"):
        code, _, err = ann2snn(line)
        assert code == 2 and err.startswith(f"ann2snn: {path} is not JSON") and err.count("\n") == 1
