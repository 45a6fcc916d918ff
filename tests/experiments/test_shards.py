"""A profile in shards and on several devices: nothing is left out, nothing is done twice."""

import os
import shutil
import signal
import sys
import time
from collections import Counter
from threading import Timer

import pytest
import torch
from limits import LIMIT
from sources import put

from ann2snn.errors import UserError
from ann2snn.experiments import profiles, shards
from ann2snn.experiments.estimate import training_chain
from ann2snn.experiments.sweep import Sweep
from ann2snn.records import store

pytestmark = pytest.mark.usefixtures("undrawn")
METHODS = (("optimal", {"reset": "soft"}), ("opi", {"reset": "soft"}))
TINY = (
    Sweep("plain", "digits", ("digits_plain",), ("threshold_relu:1", "relu"), (0,), METHODS, (1, 2)),
    Sweep("again", "digits", ("digits_plain",), ("relu",), (0,), METHODS[:1], (4,), calibration=100),
)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(profiles.PROFILES, "tiny", TINY)


def parts_of(profile):
    return [part for table in profiles.find(profile) for part in table.parts()]


def name(part):
    return part.id, *next(part.sources())


def trained(parts):
    """Every source that is trained, those too that only others start from."""
    return {
        (part.dataset, net, act, plan.key, seed)
        for part in parts
        for network, activation, seed in part.sources()
        if seed is not None
        for net, act, plan in training_chain(part.dataset, network, activation, part.recipe)
    }


@pytest.mark.parametrize("n", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("profile", profiles.names())
def test_shards_are_disjoint_and_complete_and_train_nothing_twice(profile, n):
    parts = parts_of(profile)
    split = [shards.select_shard(parts, [(i, n)]) for i in range(1, n + 1)]
    assert Counter(name(part) for shard in split for part in shard) == Counter(map(name, parts))
    times = Counter(source for shard in split for source in trained(shard))
    assert set(times.values()) == {1} and times.keys() == trained(parts)


def test_a_shard_of_a_shard():
    parts = parts_of("paper")
    third = shards.select_shard(parts, [(2, 3)])
    halves = [shards.select_shard(parts, [(2, 3), (i, 2)]) for i in (1, 2)]
    assert sorted(map(name, halves[0] + halves[1])) == sorted(map(name, third))
    assert all(halves) and not set(map(name, halves[0])) & set(map(name, halves[1]))


def test_shards_have_similar_work():
    """Every row of the paper's has three seeds: a third of each is a third of the whole."""
    assert [len(shards.select_shard(parts_of("paper"), [(i, 3)])) for i in (1, 2, 3)] == [33, 33, 33]
    first, second = (shards.select_shard(parts_of("digits"), [(i, 2)]) for i in (1, 2))
    assert {part.id for part in first} == {part.id for part in second} == {t.id for t in profiles.find("digits")}


@pytest.mark.parametrize("text", ["3/2", "0/2", "a/b", "2", "1/", "-1/2", "1/2/3", "1.5/2"])
def test_what_is_no_shard_is_one_sentence(ann2snn, text):
    code, _, err = ann2snn(f"reproduce --shard={text}")
    assert code == 2 and f"{text} is not a shard I/N" in err and err.count("\n") == 1


def numbers(root):
    """The records without what clock, command and machine say."""
    out = {}
    for record in store.load_all(root):
        T = {t: {k: v for k, v in at.items() if not k.endswith("seconds")} for t, at in record["T"].items()}
        out[record["id"]] = record | {"T": T, "provenance": None}
    return out


def test_shards_copied_together_are_the_whole(ann2snn, tmp_path, tiny):
    for root in ("whole", "one", "two"):
        for activation in ("threshold_relu:1", "relu"):
            put(tmp_path / root, activation=activation)
    line = "reproduce --profile tiny --device cpu --wandb off"
    assert ann2snn(f"{line} --runs whole")[0] == 0
    for i, root in enumerate(("one", "two"), 1):
        code, out, err = ann2snn(f"{line} --runs {root} --shard {i}/2")
        assert (code, err) == (0, "") and "leaderboard --root" in out
        assert not (tmp_path / root / "LEADERBOARD.md").exists()
        shutil.copytree(tmp_path / root / "records", tmp_path / "merged" / "records", dirs_exist_ok=True)
    one, two, whole = (numbers(tmp_path / root) for root in ("one", "two", "whole"))
    assert len(one) + len(two) == len(whole) == 5 and min(len(one), len(two)) == 2
    assert numbers(tmp_path / "merged") == whole
    assert ann2snn("leaderboard --root merged")[0] == 0 and (tmp_path / "merged/LEADERBOARD.md").exists()


def test_a_shard_may_be_empty(ann2snn, tmp_path, tiny):
    code, out, err = ann2snn("reproduce --profile tiny --only again --shard 2/2 --device cpu --wandb off")
    assert (code, err) == (0, "") and out.startswith("0 records of this shard")


def test_one_job_on_each_device(ann2snn, tmp_path, monkeypatch):
    """Three sources on two pretended devices; one is damaged, and the other device goes on."""
    for seed in (0, 1, 2):
        put(tmp_path / "runs", seed=seed)
    next((tmp_path / "runs/sources").rglob("seed1-*/weights.pt")).write_bytes(b"no weights")
    line = "reproduce --profile quick --only digits-plain/threshold_relu-1/opi-soft --wandb off --device cpu,cpu"
    code, out, err = ann2snn(line)
    assert {r["job"]["seed"] for r in store.load_all(tmp_path / "runs")} == {0, 2}
    assert "cpu | failed digits digits_plain threshold_relu:1 seed 1: " in err
    assert "2 records in" in out and err.count("building tables") == 1 and (tmp_path / "runs/LEADERBOARD.md").exists()
    assert code == 2 and err.splitlines()[-1].startswith("ann2snn: The run on cpu failed")
    monkeypatch.setattr(shards, "run_on_devices", lambda devices, arguments: [])
    code, out, _ = ann2snn(line)
    assert code == 0 and "2 records in" in out


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """In place of Python: says how it was called, and does what the test puts in between."""

    def write(then):
        path = tmp_path / "python"
        path.write_text(f'#!/bin/bash\necho "$CUDA_VISIBLE_DEVICES: $*" >&2\necho $$ >"{tmp_path}/$$.pid"\n{then}\n')
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return write


@pytest.mark.parametrize("visible, seen", [(None, "01"), ("5,7", "57")])
def test_a_process_sees_its_device_and_a_failure_is_of_its_device(stand_in, monkeypatch, capsys, visible, seen):
    stand_in("[[ $* == *1/2 ]]")
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert shards.run_on_devices(["cuda:0", "cuda:1"], ["reproduce", "--shard", "2/3"]) == ["cuda:1"]
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"cuda:{k} | {seen[k]}: -m ann2snn reproduce --shard 2/3 --device cuda --shard {k + 1}/2" for k in (0, 1)
    ]


def test_a_device_that_is_not_there_starts_nothing(ann2snn, stand_in, tmp_path):
    stand_in("")
    code, _, err = ann2snn("reproduce --device cuda:0,cuda:2 --wandb off")
    assert code == 2 and "no cuda:2" in err and err.count("\n") == 1
    assert not list(tmp_path.glob("*.pid"))
    with pytest.raises(UserError, match="no cuda:9"):
        shards.run_on_devices(["cuda:9"], [])


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_every_process(stand_in, tmp_path, stop):
    stand_in("exec sleep 3000")
    before = signal.getsignal(signal.SIGTERM)

    def interrupt():
        while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < began + LIMIT:
            time.sleep(0.01)
        os.kill(os.getpid(), stop)

    began = time.monotonic()
    Timer(0, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        shards.run_on_devices(["cpu", "cpu"], [])
    assert time.monotonic() < began + 2 * LIMIT  # before they end by themselves
    assert signal.getsignal(signal.SIGTERM) is before
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_while_a_process_begins(stop):
    done, before = [], [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), shards._uninterrupted():
        signal.raise_signal(stop)
        done.append(True)
    assert done and [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_table_of_diagnoses_is_printed_after_several_devices_too(ann2snn, monkeypatch):
    monkeypatch.setattr(shards, "run_on_devices", lambda devices, arguments: [])
    code, out, _ = ann2snn("reproduce --profile cifar --only convertible --wandb off --device cpu,cpu")
    assert code == 0 and "[convertible]" in out
