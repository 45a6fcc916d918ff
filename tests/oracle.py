"""The oracle: the equations in float64, one step after the other, written without the suite; and the engine's ways."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from ann2snn.conversion.neurons import IF, RESETS
from ann2snn.conversion.surgery import replace_activations
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.simulation import c_library
from ann2snn.simulation import simulate as simulation_simulate
from ann2snn.simulation.analysis import Backend
from ann2snn.simulation.plan import Plan
from ann2snn.simulation.simulate import simulate


class Spiking(nn.Module):
    """`trace` keeps (membrane before, with this step's input, spikes) of every step."""

    def __init__(self, v, reset, shift, start):
        super().__init__()
        self.v, self.reset, self.shift, self.m, self.count, self.trace = v, reset, shift, start, 0, []

    def forward(self, current):
        m = self.m + current + self.shift
        spike = torch.where(m >= self.v, 1.0, 0.0).double()
        self.trace.append((self.m, m, spike))
        self.m = m - self.v * spike if self.reset == "soft" else m * (1 - spike)
        self.count = self.count + spike.sum(0)
        return self.v * spike


class Pooling(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool, self.cumulative = pool, None

    def forward(self, current):
        before = torch.zeros_like(current) if self.cumulative is None else self.cumulative
        self.cumulative = before + current
        return self.pool(self.cumulative) - self.pool(before)


def oracle(net, neurons, images, T):
    """Outputs summed over the steps 1..t and spike counts per unit, for every t; and the neurons.

    `neurons` has (threshold, reset, shift, start) for the modules of these names."""
    net = copy.deepcopy(net).double()
    net.steps = True
    for name, module in list(net.named_children()):
        if name in neurons:
            setattr(net, name, Spiking(*neurons[name]))
        elif isinstance(module, nn.MaxPool2d):
            setattr(net, name, Pooling(module))
    spiking = {name: getattr(net, name) for name in neurons}
    outputs, counts, total = [], [], 0
    with torch.no_grad():
        for _ in range(T):
            total = total + net(images.double())
            outputs.append(total)
            counts.append({name: neuron.count for name, neuron in spiking.items()})
    return outputs, counts, spiking


@contextmanager
def engine(compiled=True, block=8, threads=1):
    """Steps in such blocks, on so many threads, and with the compiled library or without."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation_simulate, "STEPS_PER_BLOCK", block)
        if not compiled:
            patch.setattr(c_library, "library", lambda: None)
        torch.set_num_threads(threads)
        yield
        torch.set_num_threads(before)


# how, the batch, and every how many steps the outputs are read: where few are, the library takes many steps at once
WAYS = [
    (dict(compiled=True, block=8), 5, 1),
    (dict(compiled=True, block=8), 3, 100),
    (dict(compiled=True, block=3), 1, 5),
    (dict(compiled=True, block=1), 5, 3),
    (dict(compiled=False, block=8), 5, 1),
    (dict(compiled=False, block=3), 3, 5),
]
TWO_THREADS = [(dict(compiled=True, threads=2), 5, 4), (dict(compiled=False, threads=2), 3, 100)]


def compare(net, images, T, neurons, ann=None, ways=WAYS):
    """Every way gives the oracle's outputs and counts, bit for bit. `ann` = prepare(net, images)."""
    ann = ann or prepare(net, images)
    assert set(activations(ann)) == set(neurons)

    def neuron(activation):
        v, reset, shift, start = neurons[activation.name]
        return IF(v, RESETS[reset], shift, start)

    snn = replace_activations(ann, neuron)
    outputs, counts, _ = oracle(net, neurons, images, T)
    for way, batch, every in ways:
        with engine(**way):
            assert bool(Plan(snn).layers_on(Backend.NATIVE)) == (c_library.library() is not None)
            result = simulate(snn, images, T, at=range(every, T, every), batch=batch)
        assert T in result.outputs
        for t, output in result.outputs.items():
            assert torch.equal(output.double(), outputs[t - 1]), (way, batch, t)
            for name, count in counts[t - 1].items():
                assert torch.equal(result.events[t][name].double(), count), (way, batch, t, name)
        assert result.spikes(T) == {name: int(count.sum()) for name, count in counts[-1].items()}
