"""The factor table of closed_loop: rows are measured once, and differences are paired."""

import json
import math
import re
from pathlib import Path

import pytest

from ann2snn.benchmarks.studies import closed_loop as study
from ann2snn.records.packing import pack

WEIGHTS = next((Path(__file__).parents[2] / "results/weights/digits").glob("digits_plain-relu-seed0*.pt"))


def test_a_second_run_measures_what_is_missing(tmp_path, monkeypatch, capsys):
    file = tmp_path / "rows.json"
    command = ["study", str(WEIGHTS), "--file", str(file), "--T", "2", "--limit", "40", "--variant", "closed_loop"]
    monkeypatch.setattr("sys.argv", command)
    assert study.main() == 0
    first = json.loads(file.read_text())
    assert [row["variant"] for row in first] == ["ANN", "closed_loop, evenly timed", "closed_loop"]
    assert {row["images"] for row in first} == {40} and first[0]["error"] == 0 < first[1]["error"]
    monkeypatch.setattr("sys.argv", [*command, "ftbc"])
    assert study.main() == 0
    second = json.loads(file.read_text())
    assert second[:3] == first and [row["variant"] for row in second[3:]] == ["ftbc"]
    assert "| ftbc " in capsys.readouterr().out


def test_a_difference_is_paired():
    source = {"dataset": "digits", "activation": "relu", "seed": 0, "T": 8, "images": 4, "error": 0.5}
    rows = [
        source | {"variant": "closed_loop", "correct": pack([1, 1, 0, 0])},
        source | {"variant": "ftbc", "correct": pack([1, 1, 1, 0])},
    ]
    line = next(line for line in study.table(rows).splitlines() if line.startswith("| ftbc"))
    margin = 1.96 * 100 * math.sqrt(3) / 4 / 2
    assert [cell.strip() for cell in line.split("|")[2:5]] == ["75.0", f"+25.00 ± {margin:.2f}", "0.500"]


def test_rows_of_another_number_of_images_are_measured_too(tmp_path, monkeypatch, capsys):
    """And a table without `closed_loop` has no differences."""
    file = tmp_path / "rows.json"
    for limit in ("20", "30"):
        command = ["study", str(WEIGHTS), "--file", str(file), "--T", "2", "--limit", limit, "--variant", "optimal"]
        monkeypatch.setitem(study.VARIANTS, "optimal", ("optimal", 64, {}))
        monkeypatch.setattr("sys.argv", command)
        assert study.main() == 0
    assert [row["images"] for row in json.loads(file.read_text())] == [20, 20, 30, 30]
    assert "±" not in capsys.readouterr().out
    file.write_text("no JSON")
    assert study.main() == 2 and str(file) in capsys.readouterr().err


def test_weights_that_are_not_there_are_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["study", str(tmp_path / "none.pt"), "--file", str(tmp_path / "rows.json")])
    assert study.main() == 2 and "none.pt" in capsys.readouterr().err


@pytest.mark.parametrize("name", study.VARIANTS)
def test_a_variant_has_options_of_its_method(name):
    from ann2snn.methods.registry import find

    method, _, options = study.VARIANTS[name]
    find(method).check(options)


def test_the_table_of_the_page_is_that_of_the_file():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "closed-loop.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- table:begin -->\n(.*?)\n<!-- table:end -->", page, re.DOTALL)
    assert shown == study.table(json.loads((root / study.FILE).read_text(encoding="utf-8")))
