"""The kernel of `fused.py` against the neuron's own steps, on a GPU or else in Triton's interpreter."""

import sys

import numpy
import pytest
import torch

from ann2snn.baselines.srp import SRPNeuron
from ann2snn.conversion.neurons import IF, TimeVaryingIF, hard, soft
from ann2snn.simulation.backends import runs_in_triton
from ann2snn.simulation.layers import SingleStepLayer

pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim:DeprecationWarning")  # older Tritons
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FIRST, LAST = torch.contiguous_format, torch.channels_last
IMAGES, STEPS = 3, 8
KINDS = [  # of threshold and start, and of the shift
    ("layer", "layer"),
    ("one", "unit"),
    ("place", "channel"),
    ("channel", "one"),
    ("channel", "channel by step"),
    ("unit", "one by step"),
    ("layer", "unit by step"),
]


@pytest.fixture(scope="module")
def TritonIFLayer():
    triton = pytest.importorskip("triton")
    if DEVICE == "cpu" and version(triton) < (3, 7) and version(numpy) >= (2, 4):
        pytest.skip("this Triton's interpreter takes arrays of one element for numbers, which numpy 2.4 no longer does")
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")
        from ann2snn.simulation import triton_layer

        yield triton_layer.TritonIFLayer
    del sys.modules["ann2snn.simulation.triton_layer"]


def version(module):
    return tuple(int(part) for part in module.__version__.split(".")[:2])


def values(kind, shape, lead=()):
    ones = [1] * (len(shape) - 1)
    size = {"layer": (), "one": (1, *ones), "channel": (shape[0], *ones), "unit": shape, "place": shape[-1:]}[kind]
    return draw(*lead, *size) + 0.375


def draw(*shape):
    """Multiples of 1/8: membranes often are exactly at the threshold."""
    return (torch.rand(shape) * 8).round().to(DEVICE) / 8


@pytest.mark.parametrize("reset", [soft, hard])
@pytest.mark.parametrize("kind, shift", KINDS)
@pytest.mark.parametrize("shape, layout", [((5, 4, 3), LAST), ((5, 4, 3), FIRST), ((7,), FIRST)])
def test_the_kernel_takes_the_steps_that_the_neuron_does(TritonIFLayer, reset, kind, shift, shape, layout):
    torch.manual_seed(0)
    timed = shift.endswith("step")
    v_th, v_init = values(kind, shape), 0.25 * values(kind, shape)
    drive = 0.25 * values(shift.split()[0], shape, (2 * STEPS + 1,) if timed else ())
    neuron = (TimeVaryingIF if timed else IF)(v_th, reset, drive, v_init)
    train = [draw(STEPS * IMAGES, *shape).contiguous(memory_format=layout) for _ in range(3)]
    ours, naive = TritonIFLayer(neuron, train[0][:IMAGES]), SingleStepLayer(neuron, train[0][:IMAGES])
    for block in train:
        (out, events), (wanted, counted) = (way.run(block, None, [3, 4, 1], 2) for way in (ours, naive))
        assert torch.equal(out, wanted) and 0 < out.count_nonzero() < out.numel()
        assert all(torch.equal(a, b) for a, b in zip(events, counted[:2], strict=True))
    still = train[0][:IMAGES].contiguous(memory_format=layout)
    again = still.repeat(STEPS, *[1] * len(shape))
    out, _ = TritonIFLayer(neuron, still).run(still, None, [STEPS], 1)
    assert torch.equal(out, SingleStepLayer(neuron, still).run(again, None, [STEPS], 1)[0])


@pytest.mark.parametrize("first", [0, 1, 8, 11, 16, 30])
def test_a_second_stage_begins_within_a_block_or_between(TritonIFLayer, first):
    torch.manual_seed(0)
    neuron = SRPNeuron(first, values("channel", (5, 4, 3)), 0.125, values("unit", (5, 4, 3))).to(DEVICE)
    train = [draw(STEPS * IMAGES, 5, 4, 3) - 0.375 for _ in range(3)]
    ours, naive = TritonIFLayer(neuron, train[0][:IMAGES]), SingleStepLayer(neuron, train[0][:IMAGES])
    for block in train:
        (out, events), (wanted, counted) = (way.run(block, None, [5, 3], 2) for way in (ours, naive))
        assert torch.equal(out, wanted) and 0 < out.count_nonzero() < out.numel()
        assert all(torch.equal(a, b) for a, b in zip(events, counted, strict=True))


def test_values_may_be_views(TritonIFLayer):
    """Repeated and strided ones, as an expanded threshold or every second one."""
    images = draw(IMAGES * STEPS, 4, 3, 2)
    for v_th in (
        draw(1, 1, 1).expand(4, 1, 1) + 0.375,
        (draw(8, 1, 1) + 0.375)[::2],
        draw(2, 3, 4).permute(2, 1, 0) + 0.375,
    ):
        neuron = IF(1.0).to(DEVICE)
        neuron.v_th = v_th
        ours, naive = TritonIFLayer(neuron, images[:IMAGES]), SingleStepLayer(neuron, images[:IMAGES])
        assert torch.equal(ours.run(images, None, [STEPS], 1)[0], naive.run(images, None, [STEPS], 1)[0])


def test_it_is_for_plain_neurons_on_a_gpu():
    class Own(IF):
        def fire(self, m):
            return super().fire(2 * m)

    assert runs_in_triton(IF(1.0).to(DEVICE)) == (DEVICE == "cuda")
    assert (
        not runs_in_triton(IF(1.0))
        and not runs_in_triton(Own(1.0).to(DEVICE))
        and not runs_in_triton(IF(1.0).double().to(DEVICE))
    )
