"""The README's table."""

import pytest

from ann2snn.errors import UserError
from ann2snn.leaderboard import build
from ann2snn.leaderboard.pages import readme
from ann2snn.records.store import save

HARD = {"reset": "hard"}


@pytest.fixture
def made(make_record):
    """A record of He's ResNet-20, of 400 test images and an ANN right on 380."""

    def make(method="optimal", T=None, recipe="cifar-01234567", **job):
        job = {"dataset": "cifar10", "network": "cifar_resnet20", "options": {"reset": "soft"}} | job
        job = {"activation": "threshold_relu:1"} | job if recipe == "cifar-01234567" else job
        return make_record(T or {16: 300}, ann=380, n=400, method=method, recipe=recipe, **job)

    return make


def cells(text):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[0:1] == "|"]
    return rows[0], {row[0]: row[1:] for row in rows[2:]}


def test_methods_down_and_sources_across(made):
    threshold = {"activation": "threshold_relu:1"}
    records = [
        *(made(T={16: 300 + 4 * seed, 32: 380}, seed=seed, **threshold) for seed in (0, 1)),
        made("max_norm", T={16: 310}, **threshold),
        made("max_norm", T={16: 200}, options=HARD, **threshold),
        made(T={32: 360}, seed=None, recipe="akamaster-01234567"),
        made("da_qcfs", options={}, dataset="cifar100", activation="threshold_relu:2", official=False),
    ]
    heads, rows = cells(readme.table(records))
    assert [head.split("<br>")[0] for head in heads[1:4]] == [
        "ResNet-20, threshold ReLU", "ResNet-20, ReLU, public weights", "ResNet-20, threshold ReLU"]  # fmt: skip
    assert [head.split("<br>")[-1] for head in heads[1:4]] == ["n = 2", "n = 1", "n = 1"]
    assert "†" in heads[3] and "†" not in heads[1] + heads[2]
    assert list(rows) == ["the ANN itself", "max_norm", "optimal", "da_qcfs"]
    assert rows["the ANN itself"][:3] == ["95.0"] * 3
    assert rows["optimal"][:3] == ["75.5 / 95.0", "- / 90.0", "-"]
    assert rows["max_norm"][:3] == ["77.5 / - (n = 1)", "-", "-"]
    assert rows["optimal"][3:] == ["16", f"{50 * 16 / 40:.2f}"] and rows["da_qcfs"][3:] == ["-", "-"]


def test_the_table_is_small():
    assert len(readme.METHODS) <= 8 and len(readme.SHOWN) <= 4


def test_only_default_options_and_calibrations_have_a_cell(made):
    others = [
        made("optimal", T={16: 400}, calibration=128),
        made("optimal", T={16: 400}, calibration_seed=1),
        made("optimal", T={16: 400}, options=HARD),
        made("ftbc", T={16: 400}, options={"updates": 10}),
        made("deng_code", T={16: 400}, options={"readout": "spiking"}),
        made("optimal", T={16: 400}, activation="threshold_relu:4"),
        made("optimal", T={16: 400}, recipe="another-01234567"),
    ]
    heads, rows = cells(readme.table([*others, made()]))
    assert len(heads) == 4 and rows["optimal"][0] == "75.0 / -" and len(rows) == 2


def test_the_latest_version_of_a_method_has_the_cell(made):
    old, new = (made(T={16: right}, method_version=version) for right, version in ((390, 1), (200, 2)))
    for records in ([old, new], [new, old]):
        assert cells(readme.table(records))[1]["optimal"][0] == "50.0 / -"


def test_a_file_is_updated_between_its_markers(made, tmp_path):
    root = tmp_path / "results"
    save(made(official=False), root)
    file = tmp_path / "README.md"
    file.write_text(f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n")
    assert file in build.check(root, file)
    assert file in build.build(root, file)
    assert build.check(root, file) == []
    text = file.read_text()
    assert text.startswith(f"above\n{readme.BEGIN}\n| method") and text.endswith(f"{readme.END}\nbelow\n")
    file.write_text("no markers")
    for function in (build.build, build.check):
        with pytest.raises(UserError, match="needs the lines"):
            function(root, file)


def test_no_record_to_show_is_a_user_error(made, make_record):
    with pytest.raises(UserError, match="SHOWN"):
        readme.table([make_record()])
