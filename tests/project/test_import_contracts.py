"""Imports run downwards, without circles: the contracts of `[tool.importlinter]` in pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_import_contracts_are_kept():
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    env = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", lint], cwd=CHECKOUT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " broken" in done.stdout and "0 broken" in done.stdout


def test_no_module_has_more_than_300_lines():
    files = [file for folder in ("ann2snn", "baselines", "benchmarks") for file in (CHECKOUT / folder).rglob("*.py")]
    lengths = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert len(lengths) > 100 and {file: n for file, n in lengths.items() if n > 300} == {}
