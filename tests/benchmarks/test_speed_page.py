"""The page of timings says no more than they do."""

import cProfile
import json
import pstats
from pathlib import Path

import pytest
import torch
from torch import nn

from ann2snn.benchmarks.speed import breakdown, experiments, page
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.simulation import c_library, self_test
from ann2snn.simulation.simulate import simulate

RESULTS = Path(__file__).parents[2] / "results" / "speed"


def test_two_experiments_on_both_sides_of_a_target_give_no_verdict():
    def judged(beside, T=32):
        engine = [{"network": "cifar_resnet20", "T": 32, "x ANN": "0.43 [0.4 .. 0.46]"}]
        peers = [{"network": "cifar_resnet20", "T": T, "simulator": "ann2snn", "x ANN": beside, "x ann2snn": "1"}]
        return page.verdicts({"engine": engine, "peers": peers})[0]["x ANN at T = 32, at most 0.45"]

    assert judged("0.49 [0.47 .. 0.5]") == "0.43 and 0.49: no verdict"
    assert judged("0.44 [0.4 .. 0.5]") == "0.43 and 0.44: met"
    assert judged("0.49 [0.47 .. 0.5]", T=16) == "0.43: met"


def test_the_breakdown_counts_every_second_of_a_profile_once():
    profiler = cProfile.Profile()
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    images = torch.rand(4, 1, 8, 8)
    profiler.runcall(simulate, convert(prepare(net.eval(), images), "robust_norm", images), images, 8)
    stats = pstats.Stats(profiler)
    spent = breakdown.by_part(stats)
    assert list(spent) == list(breakdown.PARTS)
    assert sum(spent.values()) == pytest.approx(stats.total_tt)
    if c_library.library():
        assert spent[breakdown.NATIVE] > 0


@pytest.mark.skipif(c_library.library() is None, reason="no C compiler")
def test_the_library_without_counting_computes_the_same_spikes():
    library = experiments.library_without_counting()
    assert self_test.passes(library, counts_spikes=False) and not self_test.passes(library)


def test_the_committed_page_is_fresh():
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == page.page(RESULTS)


def test_the_newest_record_of_an_experiment_has_the_verdict(tmp_path):
    record = json.loads(next(RESULTS.glob("engine-*.json")).read_text())
    for date, ratio in (("2030-01-02", "0.9"), ("2030-01-01", "0.1")):
        rows = [{"network": "cifar_resnet20", "T": 32, "x ANN": f"{ratio} [0 .. 1]"}]
        changed = record | {"machine": record["machine"] | {"date": date}, "rows": rows}
        (tmp_path / f"engine-{date}.json").write_text(json.dumps(changed))
    assert "0.9: missed" in page.page(tmp_path) and "0.1: met" not in page.page(tmp_path)
