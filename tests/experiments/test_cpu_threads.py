"""How many threads a command takes."""

import math
import os
import subprocess
import sys

import pytest
import torch

from ann2snn.cli import commands, process
from ann2snn.experiments import cpu_threads
from ann2snn.experiments.cpu_threads import Machine, cgroup_quota, choose_threads, default_threads


@pytest.mark.parametrize(
    "machine, cores, free",
    [
        (Machine(8, 8, math.inf, 0.0), 8, 8),
        (Machine(8, 4, math.inf, 0.0), 4, 4),  # affinity
        (Machine(8, 8, 2.5, 0.0), 2, 2),  # quota
        (Machine(8, 8, 0.5, 0.0), 1, 1),
        (Machine(8, 8, math.inf, 5.4), 8, 3),  # load
        (Machine(64, 2, math.inf, 40.0), 2, 2),  # busy cores are others'
        (Machine(2, 2, math.inf, 0.4), 2, 2),
        (Machine(2, 2, math.inf, 7.0), 2, 1),
    ],
)
def test_cores_and_free_cores(machine, cores, free):
    assert (machine.cores, machine.free) == (cores, free)


@pytest.mark.parametrize(
    "membership, files, quota",
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, math.inf),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/not/mounted\n", {"cpu.max": "300000 100000"}, 3.0),
        ("2:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"}, 4.0),
        ("2:cpu,x:/\n", {"cpu,x/cpu.cfs_quota_us": "50000", "cpu,x/cpu.cfs_period_us": "100000"}, 0.5),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000"}, math.inf),
        ("3:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "100000", "cpuset/cpu.cfs_period_us": "100000"}, math.inf),
        ("0::/\n", {"cpu.max": "damaged"}, math.inf),
        ("", {}, math.inf),
    ],
)  # fmt: skip
def test_the_quota_of_cgroups(tmp_path, membership, files, quota):
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == quota


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert cgroup_quota(tmp_path, tmp_path / "absent") == math.inf


def test_the_default():
    idle, busy = Machine(4, 4, math.inf, 0.0), Machine(4, 4, math.inf, 2.9)
    assert (
        default_threads(idle, 4)[0] == 4 and default_threads(idle, 2)[0] == 2
    )  # PyTorch counts cores, not threads of cores
    assert default_threads(busy, 4) == (1, "the machine is busy, load 2.9")
    assert default_threads(busy, 4, before=3)[0] == 3 and default_threads(idle, 4, before=1)[0] == 1
    assert default_threads(idle, 4, before=64)[0] == 4


def test_a_folder_of_results_keeps_its_number(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cpu_threads, "this_machine", lambda: Machine(4, 4, math.inf, 0.0))
    assert choose_threads("cifar10", tmp_path / "dry", 4, remember=False) == 4 and not (tmp_path / "dry").exists()
    assert choose_threads("cifar10", tmp_path, 4) == 4 and capsys.readouterr().err == ""
    monkeypatch.setattr(cpu_threads, "this_machine", lambda: Machine(4, 4, math.inf, 3.0))
    assert choose_threads("cifar10", tmp_path, 4) == 4 and choose_threads("cifar10", tmp_path / "new", 4) == 1
    assert capsys.readouterr().err == (
        "1 of 4 CPU threads (the machine is busy, load 3.0); --threads N takes another number.\n"
    )
    assert choose_threads("digits", tmp_path, 4) == 1 and "as small as those of digits" in capsys.readouterr().err
    assert (tmp_path / "threads").read_text() == "4\n"
    (tmp_path / "threads").write_text("damaged")
    assert choose_threads("cifar10", tmp_path, 4) == 1


@pytest.mark.parametrize(
    "line, environ, n", [("", None, 1), ("--threads 3", None, 3), ("", "2", 2), ("--threads 3", "2", 3)]
)
def test_a_command_runs_on_its_threads(ann2snn, monkeypatch, line, environ, n):
    seen, before = [], torch.get_num_threads()
    monkeypatch.setitem(commands.COMMANDS, "train", lambda options: seen.append(torch.get_num_threads()))
    monkeypatch.setattr(cpu_threads, "this_machine", lambda: Machine(2, 2, math.inf, 0.0))
    monkeypatch.delenv("OMP_NUM_THREADS") if environ is None else monkeypatch.setenv("OMP_NUM_THREADS", environ)
    torch.set_num_threads(2)  # as torch does by itself, or on account of OMP_NUM_THREADS
    try:
        assert ann2snn(f"train --dataset digits --network digits_plain {line}")[0] == 0
        assert seen == [n] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise():
    for given, policy in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active"), ({"GOMP_SPINCOUNT": "9"}, None)):
        environ = dict(given)
        process.sleep_while_waiting(environ)
        assert environ.get("OMP_WAIT_POLICY") == policy
    code = "import os; from ann2snn.cli import main; main.main(['compare', 'a', 'b'])"
    code += "; print(os.environ['OMP_WAIT_POLICY'])"
    env = {name: value for name, value in os.environ.items() if name not in process.WAIT_POLICIES}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "passive\n"
