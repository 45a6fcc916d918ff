"""Kills, flipped bits, interrupts and rival processes: a seeded few in every run, many with `pytest -m campaign`.

Run as a script, this file is the process whose children are killed: one import of everything for all of them.
"""

import contextlib
import ctypes
import functools
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jobs import TABLE, numbers
from scripts import environment
from sources import put, tensor_bytes

from ann2snn import files
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments import sweep
from ann2snn.records import store
from ann2snn.records.job import Job
from ann2snn.records.partial import PartialResults
from ann2snn.simulation import c_build, c_library
from ann2snn.training import checkpoints, recipes, train

SHORT = recipes.Recipe("short", epochs=2, batch_size=256, lr=0.05)
RIVALS = 3


def few_and_many(few, many):
    """The test with `few` in every run, with `many` in a campaign."""
    return pytest.mark.parametrize("n", [few, pytest.param(many, marks=pytest.mark.campaign)])


# ------------------------------------------------------------------------------ kills, and several processes at once


def run_everything(root: Path) -> None:
    """Training, conversion, simulation: every file that a sweep writes."""
    outcome = sweep.sweep([replace(TABLE, T=(1, 2))], sweep.Settings(root, device="cpu"))
    assert not outcome.skipped, outcome.skipped


def in_a_child(function) -> int:
    """The exit status of a forked process that calls `function`; negative for a signal."""
    if (child := os.fork()) == 0:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counting_writes(act) -> None:
    """Calls `act(i)` before the i-th change of a file, from 1 on."""
    calls = iter(range(1, 10**6))

    def counted(function):
        def call(*arguments, **keywords):
            act(next(calls))
            return function(*arguments, **keywords)

        return call

    for name in ("replace", "fsync", "unlink", "ftruncate"):
        setattr(os, name, counted(getattr(os, name)))
    os.open = (lambda opens, changed: lambda path, flags, *rest, **kw: (changed if flags & os.O_CREAT else opens)(
        path, flags, *rest, **kw))(os.open, counted(os.open))  # fmt: skip


def made(root: Path) -> dict:
    """What a run left: its files, the hash of its weights, and the numbers of its records."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    (weights,) = root.rglob("weights.pt")
    hashed = checkpoints.load_source(weights)[1]["weights_hash"]
    found = [numbers(record) for record in store.load_all(root)]
    for record in found:
        record["source"].pop("training_seconds")
        for at in record["T"].values():
            at.pop("commit")  # someone may commit meanwhile
    return {"files": names, "weights": hashed, "records": found}


def kills(root: Path, n: int) -> dict:
    """For n places, or all: killed there, run again, and compared with a run that was left alone."""
    total, expected = root / "total", root / "whole"

    def count():
        calls = []
        counting_writes(calls.append)
        run_everything(expected)
        total.write_text(str(len(calls)))

    assert in_a_child(count) == 0
    expected, places = made(expected), int(total.read_text())
    chosen = random.Random(0).sample(range(1, places + 1), min(n, places))
    wrong, leftovers = [], 0
    for place in chosen:

        def killed(at=place):
            counting_writes(lambda i: i == at and os.kill(os.getpid(), signal.SIGKILL))
            run_everything(root / "killed")

        status = in_a_child(killed)
        leftovers += len(list(root.glob("killed/**/.*.tmp")))
        again = in_a_child(lambda: run_everything(root / "killed"))
        if (status, again) != (-signal.SIGKILL, 0) or made(root / "killed") != expected:
            wrong.append((place, status, again))
        shutil.rmtree(root / "killed")
    return {"places": places, "killed": len(chosen), "left half-written": leftovers, "wrong": wrong}


def rivals(root: Path, n: int) -> dict:
    """Several processes train one source, n times; the one that trains waits until all others wait for it."""
    from ann2snn.training import lightning_module

    exclusive_lock, fit, wrong = files.exclusive_lock, lightning_module.fit, []
    for trial in range(n):
        place = root / f"rivals{trial}"
        place.mkdir()

        def noted(path, waiting, place=place):
            return exclusive_lock(path, lambda: ((place / f"waits{os.getpid()}").touch(), waiting()))

        def patient(*arguments, place=place, **options):
            deadline = time.monotonic() + 300
            while len(list(place.glob("waits*"))) < RIVALS - 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            (place / f"trains{os.getpid()}").touch()
            return fit(*arguments, **options)

        def rival(place=place):
            train.exclusive_lock, lightning_module.fit = noted, patient
            train.train(load("digits"), "digits_plain", "relu", 0, place / "runs", device="cpu")

        children = []
        for _ in range(RIVALS):
            if (child := os.fork()) == 0:
                os._exit(in_a_child(rival))
            children.append(child)
        found = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        found += [len(list(place.glob("waits*"))), len(list(place.glob("trains*")))]
        left = [path.name for path in (place / "runs").rglob("*") if path.is_file()]
        if found != [0] * RIVALS + [RIVALS - 1, 1] or left != ["weights.pt"]:
            wrong.append((found, left))
    return {"trials": n, "wrong": wrong}


if __name__ == "__main__":
    import ann2snn.training.lightning_module  # noqa: F401

    torch.set_num_threads(1)
    c_library.library()
    recipes.RECIPES["digits"] = SHORT
    root = Path(sys.argv[1])
    print(json.dumps([kills(root, int(sys.argv[2])), rivals(root, int(sys.argv[3]))]))


@functools.cache
def in_a_script(n_kills: int, n_rivals: int) -> tuple[dict, dict, str]:
    """What `kills` and `rivals` found, and what their processes said on stderr."""
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, __file__, root, str(n_kills), str(n_rivals)]
        done = subprocess.run(command, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout.splitlines()[-1]), done.stderr


@few_and_many((2, 1), (10**6, 20))
def test_kills_at_every_change_of_a_file(n):
    found, _, err = in_a_script(*n)
    print("kills:", found)
    assert found["places"] > 40 and not found["wrong"], err


@few_and_many((2, 1), (10**6, 20))
def test_of_several_processes_that_train_one_source_one_trains(n):
    _, found, err = in_a_script(*n)
    print("rivals:", found)
    assert not found["wrong"], err
    assert err.count("another process trains it; waiting for its weights") == found["trials"] * (RIVALS - 1)


# -------------------------------------------------------------------------------------------------------- flipped bits


def weights(folder):
    path = put(folder)

    def read():
        net, info = checkpoints.load_source(path)
        return checkpoints.weights_hash(net), info

    return path, read


def checkpoint(folder):
    """As Lightning makes it, in its parts."""
    net = checkpoints.load_source(put(folder))[0]
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    parts = {"state_dict": state, "loops": {"fit_loop": {"epoch": 3}}, "optimizer_states": [{"state": {}}]}
    parts |= {"lr_schedulers": [{"last_epoch": 3}], "callbacks": {"EpochCheckpoint": {"seconds": 1.5}}}
    path = folder / "last.ckpt"
    path.write_bytes(files.seal(tensor_bytes(parts)))

    def read():
        if not checkpoints.can_resume(path, net):
            raise UserError("It was put aside.")
        found = checkpoints.load_tensors(path.read_bytes())
        return checkpoints.weights_hash(found.pop("state_dict")), found

    return path, read


def partial(folder):
    job = Job("digits", "0" * 64, "plain", "relu", 0, "short-0", "optimal", 1)
    place = dict.fromkeys(("versions", "device", "cpu", "threads", "batch", "calibration_hash"))
    about = {"id": job.id, "source": {"weights_hash": "0" * 64}, "provenance": place}
    partial = PartialResults(job, folder, about, [[1, 2]], None)
    partial.write("test 0 T 1 2", {"1": {"n": 3, "correct": 2, "predictions": [1, 2, 3], "seconds": 0.1}})

    def read():
        units = PartialResults(job, folder, about, [[1, 2]], None).units
        if not units:
            raise UserError("It is not used.")
        return units

    return partial.path, read


def library(folder):
    if c_library.library() is None:
        pytest.skip("no C compiler")
    path = shutil.copy(c_library.library()._name, folder / "layer.so")
    content = path.read_bytes()

    def read():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                ctypes, "CDLL", lambda name: pytest.fail("it was loaded") if path.read_bytes() != content else 0
            )
            return c_build._loaded(path, lambda library: True)

    return path, read


@few_and_many(60, 3000)
@pytest.mark.parametrize("kind", [weights, checkpoint, partial, library])
def test_a_flipped_bit_or_a_cut_changes_nothing_unnoticed(kind, n, tmp_path):
    path, read = kind(tmp_path)
    content, expected, draw, refused = path.read_bytes(), read(), random.Random(0), 0
    for trial in range(n):
        changed, place = bytearray(content), draw.randrange(len(content))
        if trial % 10:
            changed[place] ^= 1 << draw.randrange(8)
        else:
            del changed[place:]
        path.write_bytes(changed)
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                assert read() == expected, (trial, place)
        except (UserError, ValueError) as error:
            refused += 1
            assert "\n" not in str(error) and said.getvalue().count("\n") <= 1
    print(f"{kind.__name__}: {refused} of {n} changes refused, the others read as before")
    assert refused > 0.9 * n


# ---------------------------------------------------------------------------------------------------------- interrupts

INTERRUPT = """
import os, signal, sys

event, _, text = os.environ["INTERRUPT_AT"].partition(":")
seen = 0


def hook(name, arguments):
    global seen
    if name != event or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return  # before the first line of the command
    seen += 1
    if text == str(seen) or text in str(arguments[0]) and not text.isdecimal():
        os.kill(os.getpid(), signal.SIGINT)


sys.addaudithook(hook)
"""


def interrupted(folder: Path, when: str, command: str) -> tuple[int, str]:
    """(exit code, stderr) of a command that is interrupted when an event comes, such as the import of a module."""
    (folder / "sitecustomize.py").write_text(INTERRUPT)
    env = environment(folder, INTERRUPT_AT=when)
    start = [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler); {command}"]
    done = subprocess.run(start, env=env, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr


def as_module(arguments: str, module: str = "ann2snn") -> str:
    return f"import runpy, sys; sys.argv[1:] = {arguments.split()}; runpy.run_module('{module}', run_name='__main__')"


SWEEP = "sweep --threads 1 --dataset digits --network digits_plain --seed 0 1 --T 1 --device cpu --runs runs"
MOMENTS = {
    "the first module": ("import:argparse", SWEEP),
    "while it reads its arguments": ("import:difflib", "swep"),
    "numpy": ("import:numpy._core", SWEEP),
    "W&B": ("import:wandb.sdk", SWEEP),
    "torch": ("import:torch.nn.functional", SWEEP),
    "a sweep": ("open:.partial.json", f"{SWEEP} --wandb off"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_ends_the_command_with_one_sentence(moment, tmp_path):
    when, command = MOMENTS[moment]
    for seed in (0, 1):
        put(tmp_path / "runs", seed=seed)
    code, err = interrupted(tmp_path, when, as_module(command))
    assert (code, err.splitlines()) == (130, ["ann2snn: interrupted; the same command resumes where it stopped."])
    assert not list(tmp_path.glob("runs/records/**/*-????????.json"))


@pytest.mark.parametrize("name", ["studies.falls", "studies.photographs", "studies.recipe_search", "speed"])
def test_an_interrupt_ends_a_benchmark_with_one_sentence(name, tmp_path):
    code, err = interrupted(tmp_path, "import:torch", as_module("--help", f"ann2snn.benchmarks.{name}"))
    then = "starts again" if name in ("studies.falls", "speed") else "resumes where it stopped"
    assert (code, err) == (130, f"ann2snn: interrupted; the same command {then}.\n")


@pytest.mark.campaign
def test_interrupts_at_any_import(tmp_path):
    trials, late = 60, 0
    for seed in (0, 1):
        put(tmp_path / "runs", seed=seed)
    draw = random.Random(0)
    for _ in range(trials):
        when = draw.randrange(1, 3000)
        code, err = interrupted(tmp_path, f"import:{when}", as_module(f"{SWEEP} --runs runs{when}"))
        late += code != 130
        assert code == 130 or "interrupted" not in err, (when, err)
        assert code != 130 or (err.count("\n") == 1 and err.startswith("ann2snn: interrupted;")), (when, err)
    print(f"{trials - late} of {trials} interrupted while modules were imported, all with exit 130 and one sentence")
    assert late < trials / 2
