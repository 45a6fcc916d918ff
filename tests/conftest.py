import dataclasses
import io
import os
import random
import signal
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ann2snn.cli import main
from ann2snn.leaderboard.figures import style
from ann2snn.records.job import Job
from ann2snn.records.packing import pack
from ann2snn.simulation import c_library

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell: Ctrl-C is tested here
    signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = int(os.environ.get("ANN2SNN_TEST_SEED", 0))

settings.register_profile(
    "suite", derandomize=not SEED, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def seed_everything():
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart():
    seed_everything()  # for what a module draws at its import


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    seed_everything()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    seed_everything()


def correct_first(labels, correct):
    """Predictions that are right on the first `correct` images, or on exactly those listed."""
    right = set(range(correct)) if isinstance(correct, int) else set(correct)
    return [label if i in right else (label + 1) % 10 for i, label in enumerate(labels)]


@pytest.fixture
def make_record():
    """Fabricates records: `T={8: 9}` has the first 9 test images right at T = 8, `T={8: [0, 5]}` those two."""

    def make(T=None, ann=10, validation=None, ann_validation=10, n=10, official=True, weights=None, **job):
        fields = {"dataset": "digits", "data_hash": "d" * 64, "network": "plain", "activation": "relu", "seed": 0}
        fields |= {"recipe": "short-01234567", "method": "optimal", "method_version": 1, "options": {"reset": "soft"}}
        fields |= {"calibration": 1024}
        job = Job(**fields | job)
        labels, held_out = [i % 10 for i in range(n)], 0 if job.seed is None else n

        def test(correct):
            right = correct if isinstance(correct, int) else len(correct)
            return {"n": n, "correct": right, "predictions": pack(correct_first(labels, correct))}

        def at(t, correct):
            seen = (validation or {}).get(t, test(correct)["correct"]) if held_out else 0
            return {
                "test": test(correct) | {"undecided": 0},
                "validation": {"n": held_out, "correct": seen, "undecided": 0},
                "spikes": {"a": 3 * t * n, "b": t * n},
                "operations": {"conv": 50 * t * n},
                "seconds": 0.5,
            }

        return {
            "id": job.id,
            "job": dataclasses.asdict(job),
            "labels": pack(labels),
            "ann": {"test": test(ann), "validation": {"n": held_out, "correct": ann_validation if held_out else 0}},
            "T": {str(t): at(t, correct) for t, correct in ({8: 9} if T is None else T).items()},
            "network": {
                "parameters": 1234,
                "neurons": {"a": 8, "b": 4},
                "macs": {"conv": 600, "fc": 40},
                "analog": ["conv"],
            },
            "source": {"weights_hash": weights or job.source_id * 5 + "abcd", "training_seconds": 1.5},
            "data": {
                "official": official,
                "n": {"train": 100, "validation": held_out, "calibration": job.calibration, "test": n},
            },
            "provenance": {
                "commit": None,
                "dirty": None,
                "versions": {"ann2snn": "0.1.0", "torch": "2.15.0", "python": "3.11.2"},
                "device": "cpu",
                "cpu": "a processor",
                "threads": 2,
                "batch": 10,
                "calibration_hash": "c" * 64,
                "command": "ann2snn sweep",
                "date": "2025-01-01T00:00:00+00:00",
            },
        }

    return make


def pytest_collection_modifyitems(config, items):
    """Campaigns run only where they are asked for."""
    if "campaign" not in config.option.markexpr:
        items[:] = [item for item in items if not item.get_closest_marker("campaign")]


@pytest.fixture(scope="module")
def wandb_anew():
    """W&B keeps the settings, a key among them, that it was first used with."""
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache folder of the compiled library, which is not loaded yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    c_library.default_library.cache_clear()
    yield tmp_path
    c_library.default_library.cache_clear()


@pytest.fixture
def undrawn(monkeypatch):
    """Figures hold the hash of their data and no drawing: matplotlib takes seconds."""

    def render(drawer, section, drawn):
        mark, picture, info = style.stamp(drawer, section, drawn), io.BytesIO(), PngInfo()
        info.add_text("Description", mark)
        Image.new("RGB", (4, 3)).save(picture, "png", pnginfo=info)
        return {"svg": f"<svg><!-- {mark} --></svg>".encode(), "png": picture.getvalue()}

    monkeypatch.setattr(style, "render", render)


@pytest.fixture
def ann2snn(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(line):
        code = main.main(line.split())
        return code, *capsys.readouterr()

    return run
