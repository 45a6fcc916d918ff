"""The code in README.md and docs/ runs as it is printed, on the digits, and their links lead somewhere."""

import re

import pytest
import torch
from findings import RESULTS, ROOT

from ann2snn.data.registry import load
from ann2snn.methods import registry
from ann2snn.training.checkpoints import load_source

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_CODE = [path for path in PAGES if CODE.search(path.read_text(encoding="utf-8"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def given():
    """The names that the examples use: a trained network and images of the digits, and a record."""
    digits = load("digits")
    net, _ = load_source(min(RESULTS.glob("weights/digits/digits_plain-threshold_relu*.pt")))
    images, labels = next(digits.test.batches(64))
    calibration_images = torch.cat([x for x, _ in digits.calibration(64).batches(64)])
    record = min((RESULTS / "records/digits/digits_plain/relu/seed0").glob("optimal-soft-*.json"))
    return {"net": net, "images": images, "labels": labels, "calibration_images": calibration_images, "file": record}


@pytest.mark.skipif(not (RESULTS / "records").exists(), reason="a checkout without records")
@pytest.mark.parametrize("path", WITH_CODE, ids=name)
def test_the_code_runs(path, given, monkeypatch):
    monkeypatch.setattr(registry, "METHODS", dict(registry.discover()))
    code = "\n".join(CODE.findall(path.read_text(encoding="utf-8")))
    exec(compile(code, path.name, "exec"), given)
    if "result" in given:
        assert given["result"].accuracy(given["labels"], 16) > 0.9
    if "counts" in given:
        assert given["counts"].macs > 0


def anchors(path):
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        found = path.parent / file if file else path
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), target


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("[![") for line in lines[:10]) and "./reproduce.sh test" in "\n".join(lines[:20])
    assert max(i for i, line in enumerate(lines) if line.startswith("```")) < 60
