from math import sqrt

import pytest

from ann2snn.errors import UserError
from ann2snn.leaderboard.paired import paired, report
from ann2snn.metrics.significance import mcnemar_exact
from ann2snn.records import store


def test_a_pair_by_hand(make_record):
    """Ten images: A has 0 to 5 right, B 4 to 9 but 7."""
    a, b = make_record(T={8: 6}), make_record(T={8: [4, 5, 6, 8, 9]}, method="max_norm")
    x = paired(a, b, 8)
    assert (x.first, x.second, x.lost, x.won, x.images) == (0.6, 0.5, 4, 3, 10)
    assert x.p == mcnemar_exact([True] * 4 + [False] * 3, [False] * 4 + [True] * 3)[2] == 1
    assert x.difference == -0.1 and x.agree == 3  # both right on 4 and 5, both wrong, and alike, on 7
    assert x.margin == pytest.approx(1.96 * sqrt((7 - 1 / 10) / 100))
    assert x.interval == f"-10.00 ± {100 * x.margin:.2f}"
    y = paired(b, a, 8)
    assert (y.first, y.lost, y.won, y.p, y.margin) == (0.5, 3, 4, x.p, x.margin)


def test_the_interval_is_that_of_the_differences_of_single_images(make_record):
    a, b = make_record(T={8: 3}, n=40), make_record(T={8: range(2, 30)}, n=40, method="max_norm")
    x = paired(a, b, 8)
    assert x.lost == 2 and x.won == 27
    scores = [-1] * 2 + [1] * 27 + [0] * 11
    mean = sum(scores) / 40
    error = sqrt(sum((s - mean) ** 2 for s in scores) / 40 / 40)
    assert x.difference == mean and x.margin == pytest.approx(1.96 * error)


def test_one_and_the_same(make_record):
    x = paired(make_record(), make_record(), 8)
    assert (x.lost, x.won, x.p, x.difference, x.margin, x.agree) == (0, 0, 1, 0, 0, 10)
    assert x.interval == "0 (no image differs)"


def test_what_cannot_be_compared(make_record):
    with pytest.raises(UserError, match="not of the same test images"):
        paired(make_record(), make_record(data_hash="e" * 64), 8)
    with pytest.raises(UserError, match="not of the same test images"):
        paired(make_record(), make_record(n=20), 8)
    with pytest.raises(UserError, match="optimal has no T = 4; it has 8"):
        paired(make_record(T={4: 1}), make_record(), 4)
    with pytest.raises(UserError, match="have no T in common"):
        report(make_record(T={4: 1}), make_record())


def test_the_command(make_record, ann2snn, tmp_path):
    a = make_record(T={4: 5, 8: 9, 16: 9})
    b = make_record(T={8: 7, 16: 10}, method="opi", seed=1, ann=9)
    paths = [store.save(record, tmp_path / "runs") for record in (a, b)]
    code, out, err = ann2snn(f"compare {paths[0]} {paths[1]}")
    lines = out.splitlines()
    assert code == 0 and not err
    assert lines[:2] == [
        "A: digits plain relu seed 0: optimal",
        "B: digits plain relu seed 1: opi",
    ]
    assert [line.split()[:3] for line in lines[5:7]] == [["8", "90.00", "70.00"], ["16", "90.00", "100.00"]]
    assert "-20.00 ± 24.79" in lines[5] and "2 / 0" in lines[5] and lines[5].split()[-2:] == ["0.5", "80.0"]
    assert "which have 100.00 and 90.00 %." in out and max(map(len, lines)) <= 100
    code, out, _ = ann2snn(f"compare {paths[0]} {paths[0]}")
    assert code == 0 and "different weights" not in out
    b["source"]["training_seconds"] = 99.0
    assert "different weights" in report(a, b)
    b["job"]["seed"], b["source"]["weights_hash"] = 0, a["source"]["weights_hash"]
    assert "different weights" not in report(a, b)
    code, _, err = ann2snn(f"compare {paths[0]} nowhere.json")
    assert code == 2 and "nowhere.json" in err
