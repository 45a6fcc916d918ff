"""The page of timings says no more than they do."""

from ann2snn.benchmarks import speed


def test_two_experiments_on_both_sides_of_a_target_give_no_verdict():
    def judged(beside, T=32):
        engine = [{"network": "cifar_resnet20", "T": 32, "x ANN": "0.43 [0.4 .. 0.46]"}]
        peers = [{"network": "cifar_resnet20", "T": T, "simulator": "ann2snn", "x ANN": beside, "x ann2snn": "1"}]
        return speed.verdicts({"engine": engine, "peers": peers})[0]["x ANN at T = 32, at most 0.45"]

    assert judged("0.49 [0.47 .. 0.5]") == "0.43 and 0.49: no verdict"
    assert judged("0.44 [0.4 .. 0.5]") == "0.43 and 0.44: met"
    assert judged("0.49 [0.47 .. 0.5]", T=16) == "0.43: met"
