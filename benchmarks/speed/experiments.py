"""The experiments: each returns the rows of one record."""

import ctypes
import functools
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ann2snn.benchmarks.speed.breakdown import profile  # type: ignore
from ann2snn.benchmarks.speed.cases import NETWORKS, ROUNDS, Case, interleaved, ratios, seconds, spread  # type: ignore
from ann2snn.calibration.statistics import Statistics
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments import presets
from ann2snn.graph.network import activations
from ann2snn.methods.convert import convert
from ann2snn.methods.registry import find
from ann2snn.metrics.operations import costs
from ann2snn.networks.registry import create
from ann2snn.simulation import c_build, c_library, self_test
from ann2snn.simulation.simulate import simulate
from ann2snn.training import checkpoints, lightning_module, recipes
from ann2snn.training.source_info import source_info


def engine(options) -> list[dict]:
    """The simulator against T forward passes."""
    rows = []
    for name in NETWORKS:
        case = Case.named(name, options)
        settings, forward, images = case.forward
        cost = costs(case.ann, case.images.shape[1:])
        macs, analog = sum(cost.macs.values()), sum(cost.macs[layer] for layer in cost.analog)
        for T in (16, 32, 64, 128):
            found = interleaved({"forward": forward, "simulation": case.simulation(T)})
            result = simulate(case.snn, case.images[: case.n], T)
            events = result.events[T]
            spikes = sum(result.spikes(T).values()) / case.n / T / sum(cost.neurons.values())
            operations = sum(cost.operations(events).values()) / case.n / T
            rows.append(
                {
                    "network": name,
                    "T": T,
                    "x ANN": spread(ratios(found["simulation"], case.n * T, found["forward"], images)),
                    "ms / image / step": f"{1e3 * statistics.median(found['simulation']) / case.n / T:.3g}",
                    "dense floor": f"{1 - analog / macs:.3f}",
                    "spikes / neuron / step": f"{spikes:.3f}",
                    "operations / MACs": f"{operations / macs:.3f}",
                    "fastest ANN": settings,
                    "source": case.weights,
                    "seconds": found,
                }
            )
            print(name, T, rows[-1]["x ANN"])
    return rows


def peers(options) -> list[dict]:
    """The same spiking network in other simulators."""
    from ann2snn.benchmarks.peers import PEERS, agreement  # type: ignore

    rows = []
    for name, T in (("cifar_resnet20", 32), ("deng_vgg16", 16), ("mobilenetv2_100", 8)):
        case = Case.named(name, options)
        _, forward, images = case.forward
        few = case.images[: case.n]
        calls: dict = {"forward": forward, "ann2snn": case.simulation(T)}
        outputs = {"ann2snn": simulate(case.snn, few, T).outputs[T]}
        refused = {}
        for peer, build in PEERS.items():
            try:
                run = build(case.snn)
                outputs[peer] = run(few, T)
                calls[peer] = functools.partial(run, few, T)
            except UserError as error:
                refused[peer] = str(error)
        found = interleaved(calls)
        for peer in ("ann2snn", *PEERS):
            row = {"network": name, "T": T, "simulator": peer}
            if peer in refused:
                rows.append(row | {"x ANN": "refused", "agreement": refused[peer]})
                continue
            rows.append(
                row
                | {
                    "x ANN": spread(ratios(found[peer], case.n * T, found["forward"], images)),
                    "x ann2snn": spread(ratios(found[peer], 1, found["ann2snn"], 1)),
                    "agreement": f"{100 * agreement(outputs[peer], outputs['ann2snn']):.1f} % of {case.n}",
                    "source": case.weights,
                    "seconds": found[peer],
                }
            )
            print(name, T, peer, rows[-1]["x ANN"], rows[-1]["agreement"])
    return rows


def scaling(options) -> list[dict]:
    """Cost as depth, batch size or width grows."""
    rows = []

    def row(grows: str, name: str, case: Case, T: int, n: int, **options):
        snn, images = case.snn, case.images[:n]
        _, forward, batch = case.forward
        found = interleaved({"forward": forward, "simulation": lambda: simulate(snn, images, T, **options)})
        step = spread([1e3 * s / n / T for s in found["simulation"]])
        ratio = spread(ratios(found["simulation"], n * T, found["forward"], batch))
        rows.append({"grows": grows, "case": name, "ms / image / step": step, "x ANN": ratio, "seconds": found})
        print(grows, name, step, ratio)

    for name in ("cifar_resnet20", "cifar_resnet32", "cifar_resnet44", "cifar_resnet56"):
        row("depth", name, Case.untrained(name), 16, 64)
    small = Case.named("cifar_resnet20", options)
    for batch in (2, 8, 32, 100):
        row("batch", f"cifar_resnet20, batch {batch}", small, 16, 100, batch=batch)
    for width in (16, 32, 64, 128, 256):
        layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        torch.manual_seed(0)
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
        name = f"4 convolutions of {width} channels, 16x16"
        row("width", name, Case(name, net, torch.randn(100, 3, 16, 16)), 16, 64)
    return rows


def counting(options) -> list[dict]:
    """The cost of counting spikes, against the same library compiled without it."""
    rows, without = [], library_without_counting()
    for name in NETWORKS:
        case = Case.named(name, options)
        _ = case.snn
        uncounted = functools.partial(_with_library, without, case.simulation(32))
        found = interleaved({"counting": case.simulation(32), "not counting": uncounted}, 2 * ROUNDS)
        percent = [100 * (a / b - 1) for a, b in zip(found["counting"], found["not counting"], strict=True)]
        rows.append({"network": name, "T": 32, "cost of counting, %": spread(percent), "seconds": found})
        print(rows[-1]["network"], rows[-1]["cost of counting, %"])
    return rows


def library_without_counting() -> ctypes.CDLL:
    """The compiled library without spike counts. UserError if it cannot be built."""
    flags = c_build.FLAGS + ["-DNOT_COUNTING"]
    if library := c_library.build(flags, functools.partial(self_test.passes, counts_spikes=False)):
        return library
    raise UserError("The cost of counting can only be measured with a C compiler: install one, or name it in CC.")


def _with_library(library, call: Callable[[], object]) -> None:
    with c_library.using(library):
        call()


def sweep(options) -> list[dict]:
    """Four methods, two resets, T = 1 ... 128 on one source, by PyTorch and by the compiled library."""
    digits = load("digits")
    torch.manual_seed(0)
    plain = create("digits_plain", num_classes=10, in_chans=1)
    images = torch.cat([next(part.batches(360))[0] for part in (digits.test, digits.validation)])
    rows = []
    for case, n in ((Case("digits_plain", plain, images), 720), (Case.named("cifar_resnet20", options), 32)):
        few = case.images[:n]

        def all_methods(case=case, few=few):
            options: dict
            for name, options in presets.CLASSIC_VARIANTS:
                grids = [[t] for t in presets.TIME_STEPS] if find(name).depends_on_T else [list(presets.TIME_STEPS)]
                for grid in grids:
                    simulate(convert(case.ann, name, case.statistics, grid[-1], **options), few, at=grid)

        plain_step = functools.partial(_with_library, None, all_methods)
        all_methods()  # the statistics, which both share
        found = {"PyTorch": [seconds(plain_step)], "compiled": [seconds(all_methods)]}
        ratio = spread(ratios(found["PyTorch"], 1, found["compiled"], 1))
        printed = {f"{name}, s": f"{taken[0]:.1f}" for name, taken in found.items()}
        row = {"network": case.name, "images": len(few), **printed, "ratio": ratio, "source": case.weights}
        rows.append(row | {"seconds": found})
        print(case.name, printed, ratio)
    return rows


CALIBRATION = 100  # images


def calibrate(case: Case, quantile: bool) -> None:
    """All thresholds of a network from its images."""
    stats = Statistics(case.ann, lambda: case.images[:CALIBRATION].split(50))
    for layer in activations(case.ann):
        _ = stats[layer].quantile(0.999) if quantile else stats[layer].max


def calibration(options) -> list[dict]:
    """Calibration: images per second, against the bare forward pass."""
    rows = []
    for name in NETWORKS:
        case = Case.named(name, options)
        _, forward, batch = case.forward
        calls = {
            "maximum": functools.partial(calibrate, case, False),
            "99.9 % quantile": functools.partial(calibrate, case, True),
        }
        found = interleaved({"forward": forward, **calls})
        for what in calls:
            images = min(CALIBRATION, len(case.images))
            rate = images / statistics.median(found[what])
            ratio = spread(ratios(found[what], images, found["forward"], batch))
            row = {"network": name, "statistic": what, "images / s": f"{rate:.0f}", "x ANN": ratio}
            rows.append(row | {"seconds": found[what]})
            print(name, what, ratio)
    return rows


WAYS = {
    "float32": {"precision": "32-true", "channels_last": False},
    "float32, channels last": {"precision": "32-true"},
    "bf16, channels last": {},
}
IMAGES = 2560


def epoch(data, **settings) -> float:
    """Seconds of one epoch of He's ResNet-20 on IMAGES images of CIFAR-10."""
    few = replace(data, train=data.train.subset(range(IMAGES)), validation=data.validation.subset(range(256)))
    net = checkpoints.untrained_network(source_info(data, "cifar_resnet20", "threshold_relu:1", 0), 0)
    with tempfile.TemporaryDirectory() as folder:
        options = {"device": "cpu", "logger": None, "progress": False, "label": ""}
        plan = replace(recipes.RECIPES["cifar"], epochs=1, **settings)
        return lightning_module.fit(net, few, plan, 0, Path(folder) / "last", **options)["training_seconds"]


def training(options) -> list[dict]:
    """One epoch of He's ResNet-20 on 2,560 images of CIFAR-10, in two precisions."""
    data = load("cifar10", options.data_root, accept_unofficial=True)
    found = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, settings in WAYS.items():
            found[name].append(epoch(data, **settings))
    rows = []
    for name, taken in found.items():
        minutes = spread([s * len(data.train) / IMAGES / 60 for s in taken])
        ratio = spread(ratios(taken, 1, found["float32"], 1))
        row = {"way": name, "minutes for all 45,000": minutes, "x float32": ratio}
        rows.append(row | {"seconds": taken})
    return rows


EXPERIMENTS = {
    "engine": engine,
    "peers": peers,
    "scaling": scaling,
    "profile": profile,
    "counting": counting,
    "sweep": sweep,
    "statistics": calibration,
    "training": training,
}
