"""From a job to its record; run as a script, this file is the child process that gets killed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jobs import TABLE, numbers
from scripts import environment
from sources import put

from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments import run_job, sweep
from ann2snn.experiments.source import SourceANN
from ann2snn.experiments.sweep import Settings
from ann2snn.methods.registry import find
from ann2snn.records import provenance, store
from ann2snn.records.job import Job
from ann2snn.records.packing import unpack
from ann2snn.simulation.simulate import simulate
from ann2snn.training import checkpoints


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return SourceANN(load("digits"), put(tmp_path_factory.mktemp("sources")))


def job_of(source, method="optimal", **options):
    table = replace(TABLE, methods=((method, options),))
    return table.jobs(source.data, "digits_plain", "threshold_relu:1", 0)[0]


def test_a_grid_within_the_warmup_is_refused_before_anything_is_trained(source):
    with pytest.raises(UserError, match="srp has no output in its first 4 steps: name a T of 5 or more"):
        job_of(source, "srp")


def test_a_kill_between_a_record_and_the_end_of_its_notebook_leaves_nothing(source, tmp_path):
    job = job_of(source)
    record = run_job.run(job, (1, 2), source, tmp_path)
    left = job.path(tmp_path).with_suffix(".partial.json")
    left.write_text("{}")
    assert numbers(run_job.run(job, (1, 2), source, tmp_path)) == numbers(record)
    assert not left.exists()


@pytest.fixture
def simulations(monkeypatch):
    """How many simulations have run; at the one that is set, the machine stops."""

    class Counter:
        count, stop_at = 0, None

    def counted(*arguments, **options):
        Counter.count += 1
        if Counter.count == Counter.stop_at:
            raise KeyboardInterrupt
        return simulate(*arguments, **options)

    monkeypatch.setattr(run_job, "simulate", counted)
    return Counter


@pytest.mark.parametrize("method", ["optimal", "opi"])
def test_a_record_states_what_a_simulation_by_hand_gives(source, tmp_path, method):
    record = run_job.run(job_of(source, method), [1, 4], source, tmp_path)
    assert store.load(Job(**record["job"]).path(tmp_path)) == json.loads(json.dumps(record))
    images, labels = source.data.test.__getitems__(range(360))
    stats = source.statistics(1024, 0)[0]
    for t in (1, 4):
        snn = find(method)(source.ann, stats, t)
        found = simulate(snn, images, t)
        at = record["T"][str(t)]
        assert (unpack(at["test"]["predictions"]) == found.predictions(t).numpy()).all()
        assert at["test"]["correct"] == (found.predictions(t) == labels).sum()
        assert at["spikes"] == found.spikes(t) and sum(at["spikes"].values()) > 0
        assert set(at["spikes"]) == set(record["network"]["neurons"]) == set(at["operations"])
    with torch.inference_mode():
        assert record["ann"]["test"]["correct"] == (source.net(images).argmax(1) == labels).sum()
    assert not list(tmp_path.rglob("*.partial.json"))


def test_a_record_states_where_its_source_was_trained(source, tmp_path, monkeypatch):
    monkeypatch.setitem(source.info, "trained_on", ["a machine", "another"])
    record = run_job.run(job_of(source), [1], source, tmp_path)
    assert record["source"]["trained_on"] == ["a machine", "another"]


def test_methods_without_T_run_once_and_others_once_a_T(source, tmp_path, simulations):
    run_job.run(job_of(source, "opi"), [1, 2, 4], source, tmp_path)
    assert simulations.count == 2  # test and validation
    run_job.run(job_of(source, "optimal"), [1, 2, 4], source, tmp_path)
    assert simulations.count == 2 + 6


@pytest.mark.parametrize("method", ["optimal", "opi"])
def test_further_T_leave_the_old_ones_alone(source, tmp_path, simulations, method):
    first = run_job.run(job_of(source, method), [1, 2], source, tmp_path)
    before = simulations.count
    both = run_job.run(job_of(source, method), [1, 2, 4], source, tmp_path)
    assert simulations.count == before + 2
    assert both["T"]["2"] == first["T"]["2"] and list(both["T"]) == ["1", "2", "4"]
    assert numbers(both) == numbers(run_job.run(job_of(source, method), [1, 2, 4], source, tmp_path / "at once"))
    count = simulations.count
    again = run_job.run(job_of(source, method), [2], source, tmp_path)
    assert simulations.count == count and again["T"] == both["T"]


def test_every_T_names_the_code_that_made_it(source, tmp_path, monkeypatch):
    ours, record = provenance.provenance, {}
    for commit, grid in (("a", [1]), ("b", [1, 2])):
        monkeypatch.setattr(run_job.provenance, "provenance", lambda **how: ours(**how) | {"commit": commit})  # noqa: B023
        record = run_job.run(job_of(source), grid, source, tmp_path)
    assert [at["commit"] for at in record["T"].values()] == ["a", "b"]


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_an_interrupted_job_resumes_and_gives_the_same_record(source, tmp_path, simulations, stop_at):
    whole = run_job.run(job_of(source), [1, 2, 4], source, tmp_path / "whole")
    done, simulations.stop_at = simulations.count, simulations.count + stop_at
    with pytest.raises(KeyboardInterrupt):
        run_job.run(job_of(source), [1, 2, 4], source, tmp_path)
    assert store.load_all(tmp_path / "nothing") == [] and not list(tmp_path.glob("records/**/*-????????.json"))
    simulations.stop_at = None
    resumed = run_job.run(job_of(source), [1, 2, 4], source, tmp_path)
    assert numbers(resumed) == numbers(whole)
    assert simulations.count - done == 6 + 1  # only what was in flight is done twice


@pytest.mark.parametrize("method", ["optimal", "opi"])
def test_an_interrupted_job_resumes_at_other_T(source, tmp_path, simulations, method):
    whole = run_job.run(job_of(source, method), [1, 2, 4], source, tmp_path / "whole")
    simulations.stop_at = simulations.count + 2
    with pytest.raises(KeyboardInterrupt):
        run_job.run(job_of(source, method), [1, 2], source, tmp_path)
    simulations.stop_at = None
    resumed = run_job.run(job_of(source, method), [1, 2, 4], source, tmp_path)
    assert numbers(resumed) == numbers(whole)


def test_a_finished_job_is_found_as_it_is(source, tmp_path, simulations):
    first = run_job.run(job_of(source), [1, 2], source, tmp_path)
    count = simulations.count
    assert run_job.run(job_of(source), [1, 2], source, tmp_path) == json.loads(json.dumps(first))
    assert simulations.count == count


def test_what_cannot_be_converted_is_not_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.train, "train", lambda *_, **__: pytest.fail("it was trained"))
    table = replace(TABLE, networks=("efficientnet_lite0",), activations=("relu",))
    monkeypatch.setattr(checkpoints, "create", lambda *_, **__: torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.GELU()))  # fmt: skip
    outcome = sweep.sweep([table], Settings(tmp_path))
    assert not outcome.records and "gelu" in outcome.failed[0][1]
    with pytest.raises(UserError, match="gelu"):
        sweep.sweep([table], Settings(tmp_path), strict=True)


def test_chunks_of_any_size_give_the_same_record(source, tmp_path, monkeypatch):
    whole = run_job.run(job_of(source), [4], source, tmp_path / "whole")
    monkeypatch.setattr(run_job, "CHUNK_SIZE", 120)
    parts = run_job.run(job_of(source), [4], source, tmp_path / "parts")
    differ = unpack(whole["T"]["4"]["test"]["predictions"]) != unpack(parts["T"]["4"]["test"]["predictions"])
    assert differ.sum() <= 3  # batches of 120 and 360 round differently
    assert len(differ) == 360 and parts["T"]["4"]["validation"]["n"] == 360


def test_what_another_environment_left_half_done_is_not_mixed_in(source, tmp_path, simulations):
    job = job_of(source)
    simulations.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        run_job.run(job, [1, 2], source, tmp_path)
    partial = next(tmp_path.rglob("*.partial.json"))
    partial.write_text(json.dumps(json.loads(partial.read_text()) | {"fingerprint": "another"}))
    run_job.run(job, [1, 2], source, tmp_path)
    assert simulations.count == 3 + 4
    for T, damaged in ((4, '{"half'), (8, "[]")):
        partial.write_text(damaged)
        run_job.run(job, [1, 2, T], source, tmp_path)
        assert not partial.exists()


def test_parts_of_unclean_code_are_not_mixed_in(source, tmp_path, simulations, monkeypatch):
    ours = provenance.provenance
    monkeypatch.setattr(run_job.provenance, "provenance", lambda **how: ours(**how) | {"dirty": True})
    simulations.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        run_job.run(job_of(source), [1, 2], source, tmp_path)
    monkeypatch.setattr(run_job.provenance, "provenance", lambda **how: ours(**how) | {"dirty": False})
    run_job.run(job_of(source), [1, 2], source, tmp_path)
    assert simulations.count == 3 + 4


def test_a_whole_number_and_a_float_are_one_job(source):
    assert job_of(source, "channel_norm", quantile=1).id == job_of(source, "channel_norm", quantile=1.0).id


def test_what_another_process_saved_meanwhile_is_kept(source, tmp_path, monkeypatch):
    whole = run_job.run(job_of(source), [4, 8], source, tmp_path / "whole")
    ours, mark = run_job.converted, {"dirty": True}

    def meanwhile(job, *how):
        monkeypatch.setattr(run_job, "converted", ours)
        other = run_job.run(job, [8], source, tmp_path)
        store.save(other | {"provenance": other["provenance"] | mark}, tmp_path)
        return ours(job, *how)

    monkeypatch.setattr(run_job, "converted", meanwhile)
    both = run_job.run(job_of(source), [4], source, tmp_path)
    assert numbers(both) == numbers(whole) and both["provenance"]["dirty"] is True
    assert numbers(store.load(job_of(source).path(tmp_path))) == numbers(whole)
    assert run_job.run(job_of(source), [16], source, tmp_path)["provenance"]["dirty"] is True


def test_a_record_of_another_environment_is_put_aside_where_it_has_more(source, tmp_path, capsys):
    job = job_of(source)
    before = run_job.run(job, [1, 2], source, tmp_path)
    elsewhere = before | {"provenance": before["provenance"] | {"cpu": "another"}}
    path = store.save(elsewhere, tmp_path)
    assert list(run_job.run(job, [2, 4], source, tmp_path)["T"]) == ["2", "4"]
    (aside,) = path.parent.glob("*.old")
    assert json.loads(aside.read_text())["T"].keys() == {"1", "2"} and len(store.load_all(tmp_path)) == 1
    assert f"{aside.name} keeps T = 1, made in another environment." in capsys.readouterr().err
    store.save(elsewhere, tmp_path)
    aside.unlink()
    run_job.run(job, [1, 2], source, tmp_path)
    assert not list(path.parent.glob("*.old"))


def test_weights_for_another_number_of_classes(source, tmp_path):
    few = replace(source.data, classes=5)
    with pytest.raises(UserError, match="has 10 classes and digits has 5"):
        SourceANN(few, source.path)


def test_a_sweep_continues_without_what_it_lacks(tmp_path, capfd):
    put(tmp_path)
    absent = replace(TABLE, id="absent", dataset="cifar10")
    strange = replace(TABLE, id="strange", methods=(("optimal", {"colour": "red"}),))
    outcome = sweep.sweep([absent, strange, TABLE], Settings(tmp_path, data_root=tmp_path / "no data"))
    assert capfd.readouterr().err.startswith("cifar10 is left out: CIFAR10 is not in ")
    assert len(outcome.records) == 2
    ((first, why),), ((second, reason),) = outcome.skipped, outcome.failed
    assert (first, second) == ("absent", "strange") and "no option 'colour'" in reason and "cifar" in why.lower()
    assert store.load_all(tmp_path) == [json.loads(json.dumps(r)) for r in sorted(outcome.records, key=_name)]


def test_a_sweep_runs_the_sources_that_a_method_is_for(tmp_path):
    put(tmp_path, activation="qcfs:4")
    both = replace(TABLE, activations=("qcfs:4", "relu"), methods=(("qcfs", {}),), T=(1,))
    (record,) = sweep.sweep([both], Settings(tmp_path)).records
    assert record["job"]["activation"] == "qcfs:4"
    ((table, reason),) = sweep.sweep([replace(both, activations=("relu",))], Settings(tmp_path)).skipped
    assert table == "t" and "none of these converts networks trained with relu" in reason


def _name(record):
    return record["job"]["method"] != "opi"


def in_the_middle(root, finished):
    """Whether so many jobs are done, and another one has begun."""
    begun = {p.name.removesuffix(".partial.json") for p in root.rglob("*.partial.json")}
    done = {p.stem for p in root.rglob("records/**/*.json")} - {f"{b}.partial" for b in begun}
    return len(done) == finished and bool(begun - done)


def test_a_killed_sweep_resumes(tmp_path):
    """SIGKILL in the middle of a job, in the first and in the second; the records are those of a sweep left alone."""
    for root in ("left alone", "killed"):
        put(tmp_path / root)
    for finished in (0, 1):
        command = [sys.executable, __file__, str(tmp_path / "killed"), str(finished)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment(), start_new_session=True, **pipes) as child:
            assert child.stdout.readline() == "in the middle\n"
            os.killpg(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
        assert in_the_middle(tmp_path / "killed", finished)
    made = {}
    for root in ("left alone", "killed"):
        outcome = sweep.sweep([TABLE], Settings(tmp_path / root, device="cpu"))
        assert not outcome.skipped + outcome.failed
        made[root] = [numbers(record) for record in store.load_all(tmp_path / root)]
    assert len(made["killed"]) == 2 and made["killed"] == made["left alone"]
    assert not list((tmp_path / "killed").rglob("*.partial.json"))


if __name__ == "__main__":
    root, finished, original = Path(sys.argv[1]), int(sys.argv[2]), run_job.simulate

    def stop_in_the_middle(*arguments, **options):
        if in_the_middle(root, finished):
            print("in the middle", flush=True)
            sys.stdin.read()
        return original(*arguments, **options)

    run_job.simulate = stop_in_the_middle
    sweep.sweep([TABLE], Settings(root, device="cpu"))
