"""What is committed: the results are fresh, and a wheel of the checkout works elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ann2snn.leaderboard.build import check
from ann2snn.methods.registry import discover

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


@pytest.mark.slow
@pytest.mark.skipif(not (RESULTS / "records").exists(), reason="a checkout without records")
def test_the_committed_results_are_fresh():
    assert check(RESULTS, ROOT / "README.md") == []


ELSEWHERE = """
import importlib.util, torch, ann2snn.leaderboard.build, ann2snn.cli.main
from ann2snn.methods.registry import discover
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
torch.nn.utils.vector_to_parameters(torch.rand(23), net.parameters())  # positive, as the images: no unit is silent
images = torch.rand(8, 1, 2, 2)
snn = ann2snn.convert(ann2snn.prepare(net, images), "channel_norm", images)
assert ann2snn.simulate(snn, images, 4).mean(4).shape == (8, 2)
assert not any(map(importlib.util.find_spec, ("baselines", "benchmarks")))
print(ann2snn.__file__, *sorted(discover()))
"""


@pytest.mark.slow
def test_a_wheel_works_outside_of_the_checkout(tmp_path):
    source, site, away = (tmp_path / name for name in ("source", "site", "away"))
    for folder in ("ann2snn", "baselines", "benchmarks"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    files = {p.relative_to(source) for kind in ("*.py", "*.c", "py.typed") for p in source.rglob(kind)}
    wanted = {(p if p.parts[0] == "ann2snn" else "ann2snn" / p).as_posix() for p in files}

    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == wanted
        archive.extractall(site)

    away.mkdir()
    command, env = [sys.executable, "-c", ELSEWHERE], os.environ | {"PYTHONPATH": str(site)}
    ran = subprocess.run(command, cwd=away, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    file, *methods = ran.stdout.split()
    assert Path(file) == site / "ann2snn" / "__init__.py"
    assert methods == sorted(name for name, method in discover().items() if not method.is_plugin)
