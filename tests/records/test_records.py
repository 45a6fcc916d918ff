import base64
import dataclasses
import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
import zlib
from itertools import product
from math import comb
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ann2snn.cli.publish import publish_records as publish
from ann2snn.conform import ANY
from ann2snn.devices import cpu_model
from ann2snn.errors import UserError
from ann2snn.files import write_atomic
from ann2snn.metrics.significance import holm, mcnemar_exact
from ann2snn.records import provenance as provenance_module
from ann2snn.records import schema
from ann2snn.records.job import Job
from ann2snn.records.packing import pack, unpack
from ann2snn.records.provenance import provenance
from ann2snn.records.schema import JobFields
from ann2snn.records.store import load, load_all, published_weights_path, save

JOB = Job(
    "digits", "d" * 64, "plain", "threshold_relu:1", "short-01234567", 3, "robust_norm", 1, {"reset": "hard"}, 100
)


# ------------------------------------------------------------------------------------------------------------- jobs


def test_path_names_the_job():
    path = JOB.path("results")
    assert str(path) == f"results/records/digits/plain/threshold_relu-1/seed3/robust_norm-hard-{JOB.id[:8]}.json"
    imported = dataclasses.replace(JOB, seed=None, network="timm/x", options={"b": 2, "a": 99.9})
    assert str(imported.path("r")) == (
        f"r/records/digits/timm-x/threshold_relu-1/imported/robust_norm-99.9-2-{imported.id[:8]}.json"
    )


def test_every_field_changes_the_id_and_only_seeds_keep_the_row():
    other = {str: "other", int: 7, dict: {"reset": "soft"}}
    for field in dataclasses.fields(Job):
        changed = dataclasses.replace(JOB, **{field.name: other[type(getattr(JOB, field.name))]})
        assert changed.id != JOB.id, field.name
        assert (changed.row == JOB.row) == (field.name in ("seed", "calibration_seed")), field.name
        source = ("dataset", "data_hash", "network", "activation", "recipe", "seed")
        assert (changed.source_id == JOB.source_id) == (field.name not in source), field.name


def test_id_does_not_depend_on_the_order_of_options():
    a, b = (dataclasses.replace(JOB, options=o) for o in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert a.id == b.id and a.row == b.row and len(a.id) == 12 and int(a.id, 16) >= 0


# ------------------------------------------------------------------------------------------------------------ files


@given(st.lists(st.integers(0, 65535), max_size=50))
def test_pack_round_trip(values):
    text = pack(values)
    assert unpack(text).tolist() == values
    assert text[:3] == ("u2:" if max(values, default=0) > 255 else "u1:")


@pytest.mark.parametrize("values", [[-1], [65536], [0.5], [[1]]])
def test_pack_refuses(values):
    with pytest.raises(ValueError, match="pack takes"):
        pack(values)


@pytest.mark.parametrize("text", ["", "u4:", "u1:@@", "u1:" + pack([1])[3:-4], pack(np.arange(300))[:-8]])
def test_unpack_refuses_damage(text):
    with pytest.raises(ValueError, match="packed array"):
        unpack(text)


def test_save_and_load(make_record, tmp_path):
    record = make_record(T={16: 9, 2: 3})
    path = save(record, tmp_path)
    assert path == Job(**record["job"]).path(tmp_path)
    assert load(path) == record and list(load(path)["T"]) == ["2", "16"]
    assert load_all(tmp_path) == [record]


def test_load_all_ignores_what_is_not_finished(make_record, tmp_path):
    assert load_all(tmp_path / "nowhere") == []
    path = save(make_record(), tmp_path)
    text = path.read_text()
    path.with_suffix(".partial.json").write_text(text[: len(text) // 2])
    (path.parent / f".{path.name}.1.tmp").write_text(text[: len(text) // 2])
    assert len(load_all(tmp_path)) == 1


def test_a_half_written_record_is_refused(make_record, tmp_path, capsys):
    path = save(make_record(), tmp_path)
    path.write_text(path.read_text()[:-100])
    with pytest.raises(UserError, match=rf"{path.name} is not JSON .*; remove the file and run its job again\.$"):
        load(path)
    other = make_record(method="opi")
    save(other, tmp_path)
    assert load_all(tmp_path) == load_all(tmp_path) == [other]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path} is not JSON (") and line.endswith("): left out.")


def _set(place, value):
    def change(record):
        *way, last = place
        for key in way:
            record = record[key]
        record[last] = value

    return change


def _drop(*place):
    def change(record):
        *way, last = place
        for key in way:
            record = record[key]
        del record[last]

    return change


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        (_drop("labels"), "record has no 'labels'"),
        (_drop("T", "8", "seconds"), r"record\['T'\]\['8'\] has no 'seconds'"),
        (_drop("provenance", "cpu"), "has no 'cpu'"),
        (_set(["job", "calibration"], "100"), "'calibration'.*not of type int"),
        (_set(["job", "calibration"], True), "'calibration'.*not of type int"),
        (_set(["job", "more"], 1), "its job has an unknown field"),
        (_set(["job", "protocol"], 99), "protocol 99"),
        (_set(["id"], "0" * 12), "its id is 000000000000"),
        (_set(["T"], {}), "it has no T"),
        (_set(["T"], []), "not a mapping"),
        (_set(["T", "8", "seconds"], float("nan")), "is nan"),
        (_set(["T", "8", "spikes", "a"], -1), "is -1"),
        (_set(["T", "8", "test", "correct"], 8), "T = 8 has 8 correct, its predictions have 9"),
        (_set(["T", "8", "test", "undecided"], 11), "more than all test images"),
        (_set(["T", "8", "test", "predictions"], pack([1, 2])), "2 predictions for 10 labels"),
        (_set(["ann", "test", "predictions"], "u1:@"), "damaged packed array"),
        (_set(["ann", "validation", "n"], 9), "the ANN was measured on 9 of 10 validation images"),
        (_set(["labels"], pack([])), "0 labels for 10 test images"),
    ],
)
def test_load_names_the_defect(make_record, tmp_path, change, defect):
    path = save(make_record(), tmp_path)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=rf"^{path} is not a valid record: .*{defect}"):
        load(path)


def test_the_type_of_a_job_in_a_record_has_the_fields_of_a_job():
    types = get_type_hints(JobFields)
    assert list(types) == [field.name for field in dataclasses.fields(Job)]
    assert {**types, "options": dict} == get_type_hints(Job)


def test_the_schema_is_derived_from_the_type_of_a_record(make_record):
    """Every field that the type requires is required of a file, and every optional one is checked if it is there."""
    assert schema.SCHEMA.keys() == get_type_hints(schema.Record).keys()
    assert schema.SCHEMA["T"][ANY]["test"] == {"n": int, "correct": int, "undecided": int, "predictions": str}
    assert schema.SCHEMA["source"] == {"weights_hash": str, "training_seconds": (float, type(None))}
    assert schema.OPTIONAL["source"] == {"trained_on": [str]} and schema.OPTIONAL["T"][ANY].keys() == {
        "latency", "conversion_seconds", "commit"
    }  # fmt: skip
    record = make_record()
    assert schema.validate(record) is record
    record["source"]["trained_on"] = "a machine"
    with pytest.raises(ValueError, match="'trained_on'.* is not a list"):
        schema.validate(record)


@pytest.mark.parametrize("T", ["0", "08", "x", "-1"])
def test_T_is_a_positive_whole_number(make_record, tmp_path, T):
    path = save(make_record(), tmp_path)
    path.write_text(path.read_text().replace('"8": {', f'"{T}": {{'))
    with pytest.raises(UserError, match=f"'{T}' is not a T"):
        load(path)


def test_a_record_in_the_wrong_place_is_refused(make_record, tmp_path):
    path = save(make_record(), tmp_path)
    other = path.parents[1] / "seed1" / path.name
    other.parent.mkdir()
    shutil.copy(path, other)
    with pytest.raises(UserError, match=r"seed1.*path of its job; move it to records/digits/plain/relu/seed0"):
        load(other)
    assert len(load_all(tmp_path)) == 1


def test_one_source_has_one_set_of_weights(make_record, tmp_path):
    save(make_record(weights="a" * 64), tmp_path)
    save(make_record(weights="b" * 64, method="opi"), tmp_path)
    with pytest.raises(UserError, match="of one source but of different weights"):
        load_all(tmp_path)


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, stage):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr(os, stage, full)
    with pytest.raises(UserError, match=r"file could not be written: the disk is full"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        write_atomic(tmp_path / "file" / "below", "x")


def test_a_part_of_a_test_set_is_no_official_one(make_record, tmp_path):
    assert load(save(make_record(dataset="cifar10", official=False), tmp_path))
    with pytest.raises(UserError, match="it has 10 test images of official data, which has 10,000"):
        load(save(make_record(dataset="cifar10"), tmp_path))


def test_imported_weights_have_no_validation(make_record, tmp_path):
    record = make_record(seed=None)
    assert load(save(record, tmp_path))
    record["data"]["n"]["validation"] = 10
    with pytest.raises(
        UserError, match="not a valid record: .*validation images, which its imported weights were trained on"
    ):
        load(save(record, tmp_path))


# ------------------------------------------------------------------------------------------------------- provenance


def test_provenance(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/ann2snn", "sweep", "--only", "a b"])
    here = provenance(device="cpu", threads=2, batch=64, calibration_hash="c")
    assert here["command"] == "ann2snn sweep --only 'a b'"
    assert shlex.split(here["command"])[-1] == "a b"
    assert (here["device"], here["threads"], here["batch"], here["calibration_hash"]) == ("cpu", 2, 64, "c")
    assert here["cpu"] == cpu_model()
    assert here["cpu"].endswith(f", {torch.backends.cpu.get_cpu_capability()}")
    assert here["versions"]["python"].startswith("3.")
    monkeypatch.setattr(sys, "argv", ["/somewhere/ann2snn/__main__.py", "sweep"])
    assert provenance(device="cpu", threads=2, batch=64, calibration_hash="c")["command"] == "ann2snn sweep"
    monkeypatch.setattr(
        sys, "argv", ["/home/someone/ann2snn", "sweep", "--runs", "/mnt/disk/runs", "--data-root", "data"]
    )
    command = provenance(device="cpu", threads=2, batch=64, calibration_hash="c")["command"]
    assert command == "ann2snn sweep --runs runs --data-root data"


def test_provenance_is_a_valid_part_of_a_record(make_record, tmp_path):
    record = make_record()
    record["provenance"] = provenance(device="cpu", threads=2, batch=64, calibration_hash="c")
    assert load(save(record, tmp_path)) == record


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout in which `provenance` believes to be."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    module = tmp_path / "ann2snn" / "records" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    monkeypatch.setattr(provenance_module, "__file__", str(module))
    return tmp_path


def _git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


def _state():
    here = provenance(device="cpu", threads=1, batch=1, calibration_hash="c")
    return here["commit"], here["dirty"]


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_dirty_ignores_results_and_runs(checkout, monkeypatch):
    assert _state() == (None, None)  # not a checkout
    _git(checkout, "init", "-q")
    assert _state() == (None, None)  # no commit yet
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "-m", "x")
    commit = _git(checkout, "rev-parse", "HEAD").strip()
    for folder in ("results", "runs"):
        (checkout / folder).mkdir()
        (checkout / folder / "new").write_text("")
    assert _state() == (commit, False)
    (checkout / "ann2snn" / "new.py").write_text("")
    assert _state() == (commit, True)
    monkeypatch.setenv("PATH", "")
    assert _state() == (None, None)  # no git


# ---------------------------------------------------------------------------------------------------------- publish


def test_publish_copies_records_and_weights_and_builds(make_record, tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    record = make_record(activation="threshold_relu:1", weights="5" * 64)
    place = save(record, runs).relative_to(runs)
    (tmp_path / "w.pt").write_bytes(b"weights")
    written = publish(runs, results, {"5" * 64: tmp_path / "w.pt"}.get)
    weights = results / "weights" / "digits" / "plain-threshold_relu-1-seed0-55555555.pt"
    assert weights == published_weights_path(record, results) and weights.read_bytes() == b"weights"
    assert load(results / place) == record
    assert {weights, results / place, results / "LEADERBOARD.md", results / "leaderboard.csv"} < set(written)
    assert (results / "figures" / "digits-plain.svg").exists()


def test_publish_without_weights_and_without_records(make_record, tmp_path):
    with pytest.raises(UserError, match="no finished record"):
        publish(tmp_path / "runs", tmp_path / "results", lambda _: None)
    save(make_record(seed=None), tmp_path / "runs")
    publish(tmp_path / "runs", tmp_path / "results", lambda _: None)
    assert not (tmp_path / "results" / "weights").exists()


def test_a_published_T_is_never_lost(make_record, tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    old = save(make_record(T={4: 5, 8: 9}), results)
    save(make_record(T={8: 7}), runs)
    save(make_record(T={8: 7}, method="opi"), runs)
    with pytest.raises(UserError, match=rf"{old.name} also has T = 4"):
        publish(runs, results, lambda _: None)
    assert len(load_all(results)) == 1  # nothing was copied
    save(make_record(T={4: 6, 8: 7, 16: 8}), runs)
    publish(runs, results, lambda _: None)
    assert [cell["test"]["correct"] for cell in load(old)["T"].values()] == [6, 7, 8]


def repacked(text):
    """The same numbers as another version of zlib might pack them."""
    kind, _, body = text.partition(":")
    return f"{kind}:" + base64.b64encode(zlib.compress(zlib.decompress(base64.b64decode(body)), 0)).decode()


def test_an_equal_record_at_fewer_T_is_left_out(make_record, tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    old = save(make_record(T={4: 5, 8: 9}), results)
    same = make_record(T={8: 9})
    found = same["T"]["8"]["test"]
    found["predictions"] = repacked(packed := found["predictions"])
    assert found["predictions"] != packed
    save(same, runs)
    other = save(make_record(T={8: 7}, method="opi"), runs)
    publish(runs, results, lambda _: None)
    assert list(load(old)["T"]) == ["4", "8"] and {path.name for path in results.rglob("*.json")} == {
        old.name,
        other.name,
    }


def test_published_records_of_one_source_stay_of_one_weights(make_record, tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    old = save(make_record(method="opi", weights="a" * 64), results)
    save(make_record(weights="b" * 64), runs)
    with pytest.raises(UserError, match=rf"{old.name} was made from other weights"):
        publish(runs, results, lambda _: None)
    save(make_record(method="opi", weights="b" * 64), runs)
    publish(runs, results, lambda _: None)
    assert {record["source"]["weights_hash"] for record in load_all(results)} == {"b" * 64}


# ----------------------------------------------------------------------------------------------------- significance


def test_mcnemar_by_hand():
    # 5 only the first, 1 only the second: 2 (C(6,0) + C(6,1)) / 2^6 = 14/64
    first = [True] * 5 + [False] + [True, False]
    second = [False] * 5 + [True] + [True, False]
    assert mcnemar_exact(first, second) == (5, 1, 14 / 64)
    assert mcnemar_exact(second, first) == (1, 5, 14 / 64)
    assert mcnemar_exact(first, first) == (0, 0, 1.0)
    assert mcnemar_exact([True, False], [False, True]) == (1, 1, 1.0)
    assert mcnemar_exact([True] * 2000, [False] * 2000) == (2000, 0, 2 / 2**2000)
    with pytest.raises(ValueError, match="shorter"):
        mcnemar_exact([True], [])


@pytest.mark.parametrize("n", range(1, 9))
def test_mcnemar_counts_all_coin_tosses(n):
    heads = [sum(toss) for toss in product((0, 1), repeat=n)]
    for b in range(n + 1):
        at_least_as_uneven = sum(abs(2 * h - n) >= abs(2 * b - n) for h in heads) / 2**n
        p = mcnemar_exact([True] * b + [False] * (n - b), [False] * b + [True] * (n - b))[2]
        assert p == at_least_as_uneven
    assert len(heads) == sum(comb(n, k) for k in range(n + 1))


def test_holm_by_hand():
    # sorted .01 .02 .03 .04, times 4 3 2 1: .04 .06 .06 .04, made monotone: .04 .06 .06 .06
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06], rel=1e-15)
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_never_lowers_and_keeps_the_order(pvalues):
    adjusted = holm(pvalues)
    assert all(p <= q <= 1 for p, q in zip(pvalues, adjusted, strict=True))
    assert [q for _, q in sorted(zip(pvalues, adjusted, strict=True))] == sorted(adjusted)


# ------------------------------------------------------------------------------------------------------------ import


def test_no_torch_and_no_matplotlib_at_import():
    tables = ("rows", "diff", "paired", "pages.leaderboard", "figures.accuracy", "figures.dashboard", "figures.methods")
    names = ["ann2snn.cli.parser", "ann2snn.records.store", *(f"ann2snn.leaderboard.{name}" for name in tables)]
    code = f"import sys, {', '.join(names)}\n"
    code += "print([m for m in ('torch', 'matplotlib', 'pandas') if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
