"""The cases of the speed benchmarks for pytest-benchmark, whose tables compare and keep them:

pytest benchmarks/test_speed.py -o addopts= -k engine
"""

import os
from argparse import Namespace
from functools import cache, partial

import pytest

from ann2snn.benchmarks.peers import PEERS, agreement  # type: ignore
from ann2snn.benchmarks.speed.cases import NETWORKS, ROUNDS, Case  # type: ignore
from ann2snn.benchmarks.speed.experiments import WAYS, calibrate, epoch  # type: ignore
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.simulation.simulate import simulate

RUNS = os.environ.get("ANN2SNN_RUNS")  # where imported weights are; without it weights and images are random


@cache
def case(network):
    return Case.named(network, Namespace(runs=RUNS, data_root=None))


@pytest.mark.parametrize("network", NETWORKS)
def test_forward(benchmark, network):
    how, call, images = case(network).forward
    benchmark.extra_info |= {"how": how, "images": images}
    benchmark(call)


@pytest.mark.parametrize("batch", [8, 32, None])
@pytest.mark.parametrize("T", [16, 32, 64, 128])
@pytest.mark.parametrize("network", NETWORKS)
def test_engine(benchmark, network, T, batch):
    call = case(network).simulation(T, batch=batch)
    benchmark.extra_info |= {"images": case(network).n}
    benchmark.pedantic(call, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.parametrize("quantile", [False, True], ids=["maximum", "quantile"])
@pytest.mark.parametrize("network", NETWORKS)
def test_statistics(benchmark, network, quantile):
    benchmark.extra_info |= {"images": len(case(network).images)}
    benchmark.pedantic(partial(calibrate, case(network), quantile), rounds=ROUNDS)


@pytest.mark.parametrize("way", WAYS)
def test_training_epoch(benchmark, way):
    try:
        data = load("cifar10", accept_unofficial=True)
    except UserError as error:
        pytest.skip(str(error))
    benchmark.pedantic(partial(epoch, data, **WAYS[way]), rounds=3)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_peer(benchmark, network, peer):
    pytest.importorskip(peer.split()[0])
    this, T = case(network), 16
    images = this.images[: this.n]
    try:
        run = PEERS[peer](this.snn)
    except UserError as error:
        pytest.skip(f"refused: {error}")
    same = agreement(run(images, T), simulate(this.snn, images, T).outputs[T])
    benchmark.extra_info |= {"images": this.n, "agreement": same}
    benchmark.pedantic(partial(run, images, T), rounds=ROUNDS)
