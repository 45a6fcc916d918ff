"""Small networks for the tests of the core; with `dyadic` weights and images their arithmetic is exact in float32."""

import math

import pytest
import torch
from torch import nn

from ann2snn.calibration.statistics import Statistics
from ann2snn.networks.activations import ThresholdReLU


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small run faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    """The modules given by name, and a function (self, x) -> output."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def random(net, seed=0):
    """Random weights, biases and running statistics."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
        if name.endswith("running_var"):
            value.abs_().add_(0.5)
    return net.eval()


def dyadic(net, seed=0):
    """Weights and biases are multiples of 1/4 in [-3/4, 3/4]."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randint(-3, 4, value.shape, generator=generator) / 4)
    return net.eval()


def dyadic_images(n, shape=(2, 4, 4), seed=0):
    """Multiples of 1/4 in [-1, 2]."""
    return torch.randint(-4, 9, (n, *shape), generator=torch.Generator().manual_seed(seed)) / 4


def residual():
    """Convolutions, average pools, a residual branch past a neuron, a linear layer: (2, 4, 4) -> 3 classes."""
    return Net(
        lambda s, x: s.fc(s.a3(s.p(s.a2(s.c2(s.a1(s.c1(x))) + s.c3(x)))).flatten(1)),
        c1=nn.Conv2d(2, 3, 3, padding=1),
        a1=nn.ReLU(),
        c2=nn.Conv2d(3, 3, 3, padding=1, bias=False),
        c3=nn.Conv2d(2, 3, 1),
        a2=nn.ReLU(),
        p=nn.AvgPool2d(2),
        a3=nn.ReLU(),
        fc=nn.Linear(12, 3),
    )


def copies(values):
    """The statistics of an activation that sees exactly these values, a tensor (N, C, ...) of non-negative numbers."""
    values = torch.as_tensor(values)
    graph = torch.fx.Graph()
    x = graph.placeholder("images")
    graph.output(graph.call_module("a", (x,)))
    root = nn.Module()
    root.a = ThresholdReLU(math.inf)
    root.a.name = "a"
    root.anchor = nn.Parameter(torch.zeros((), dtype=values.dtype))  # gives dtype and device
    ann = torch.fx.GraphModule(root, graph)
    ann.anchor = root.anchor
    return Statistics(ann, lambda: values.split(3))["a"]
