"""What is measured: networks with images, their fastest forward pass, and interleaved timing."""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from ann2snn.calibration.statistics import Statistics
from ann2snn.data.registry import load
from ann2snn.experiments.source import SourceANN
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.registry import create
from ann2snn.simulation.simulate import simulate
from ann2snn.training import pretrained

NETWORKS = {  # name: (classes, side of an image, images simulated, batches of the ANN that are tried)
    "cifar_resnet20": (10, 32, 96, (50, 100, 500)),
    "deng_vgg16": (10, 32, 42, (50, 100, 500)),
    "mobilenetv2_100": (1000, 224, 4, (4, 8, 16)),
}
ROUNDS = 5
PUBLIC = pretrained.CHECKPOINTS["resnet20-akamaster"]


class Case:
    """A network with images and its fastest forward pass; n of the images are simulated."""

    weights = "random weights and images"

    def __init__(self, name: str, net: nn.Module, images: Tensor, n: int = 64, batches: tuple[int, ...] = (50, 100)):
        self.name, self.images, self.n, self.batches = name, images, n, batches
        self.ann = prepare(net.eval(), images[:1])
        self.statistics = Statistics(self.ann, lambda: images.split(50))

    @classmethod
    def named(cls, name: str, options: argparse.Namespace) -> "Case":
        """One of NETWORKS: ResNet-20 with public weights where `options.runs` has them, else with random weights."""
        classes, side, n, batches = NETWORKS[name]
        if name == "cifar_resnet20" and options.runs:
            data = load("cifar10", options.data_root, accept_unofficial=True)
            path = pretrained.find(options.runs, PUBLIC.dataset, PUBLIC.network, PUBLIC.activation, PUBLIC.recipe)
            source = SourceANN(data, path)
            images, _ = next(source.data.test.batches(max(batches)))
            calibration, _ = next(source.data.train.batches(max(batches)))
            case = cls(name, source.net, images, n, batches)
            case.statistics = Statistics(case.ann, lambda: calibration.split(50))
            case.weights = "public weights, CIFAR-10"
            return case
        return cls.untrained(name, classes, side, n, batches)

    @classmethod
    def untrained(cls, name: str, classes: int = 10, side: int = 32, n: int = 64, batches=(50, 100)) -> "Case":
        torch.manual_seed(0)
        net = create(name, num_classes=classes, in_chans=3)
        return cls(name, net, torch.randn(max(batches), 3, side, side), n, batches)

    @functools.cached_property
    def snn(self) -> fx.GraphModule:
        return convert(self.ann, "robust_norm", self.statistics)

    @functools.cached_property
    def forward(self) -> tuple[str, Callable[[], object], int]:
        """The fastest forward pass: its settings, the call and its number of images."""
        tried = {}
        for layout in (torch.channels_last, torch.contiguous_format):
            for mode, net in {"eager": self.ann, "compiled": torch.compile(self.ann)}.items():
                for batch in self.batches:
                    images = self.images[:batch].contiguous(memory_format=layout)
                    call = functools.partial(_inference, net, images)
                    try:
                        call()
                    except Exception as error:  # whatever torch.compile raises without a compiler
                        print(f"{self.name} {mode}: {type(error).__name__}, not tried")
                        break
                    name = f"batch {batch}, {str(layout).rpartition('.')[2]}, {mode}"
                    tried[min(seconds(call) for _ in range(2)) / batch] = (name, call, batch)
        return tried[min(tried)]

    def simulation(self, T: int, **options) -> Callable[[], object]:
        return lambda: simulate(self.snn, self.images[: self.n], T, **options)


def _inference(net: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return net(images)


def seconds(call: Callable[[], object]) -> float:
    """Duration of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def interleaved(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of every call in every round. Every round calls each once; a first round is not counted."""
    for call in calls.values():
        call()
    taken = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(seconds(call))
    return taken


def ratios(ours: list[float], ours_work: float, base: list[float], base_work: float) -> list[float]:
    """Ratios of the times per unit of work, round by round."""
    return [a / ours_work / (b / base_work) for a, b in zip(ours, base, strict=True)]


def spread(values: list[float]) -> str:
    """Median [lowest .. highest]."""
    return f"{statistics.median(values):.3g} [{min(values):.3g} .. {max(values):.3g}]"
