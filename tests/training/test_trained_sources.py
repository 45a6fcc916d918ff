"""Methods whose source networks have activations of their own."""

import math

import pytest
import torch
from nets import dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from torch import nn

from ann2snn.conversion.neurons import IF
from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import make
from ann2snn.simulation.simulate import simulate

OWN = {"qcfs": "qcfs:4", "slip_relu": "slip_relu:4:0.5", "tcl": "tcl"}


def layer(spec, y_th, L):
    """One layer on the currents z, exact values and edges of its steps: the prepared network, z (1, n) as an image."""
    z = torch.arange(-4 * L, 9 * L + 1) * y_th / (4 * L)
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), make(spec)(), nn.Flatten(), nn.Linear(len(z), len(z)))
    with torch.no_grad():
        for weight, value in ((net[0].weight, 1.0), (net[1].y_th, y_th), (net[3].bias, 0.0)):
            weight.fill_(value)
        net[3].weight.copy_(torch.eye(len(z)))
    image = z.reshape(1, 1, 1, -1)
    return prepare(net, image), image


@pytest.mark.parametrize("L", [1, 2, 8])
@pytest.mark.parametrize("y_th", [0.5, 2.0])
@pytest.mark.parametrize("rounding, start", [("", 0.5), (":floor", 0.0), (":ceil", 1 - 2**-10)])
def test_a_start_for_every_quantiser(L, y_th, rounding, start):
    """All dyadic, so exactly the source's activation in T = L steps, edges included."""
    ann, image = layer(f"qcfs:{L}{rounding}", y_th, L)
    found = simulate(convert(ann, "qcfs", image, start=start), image, L).mean(L)
    assert torch.equal(found, ann(image))
    others = {0.0, 0.5, 1 - 2**-10} - {start}
    assert not any(torch.equal(simulate(convert(ann, "qcfs", image, start=s), image, L).mean(L), found) for s in others)


@pytest.mark.parametrize("L", [1, 2, 8])
@pytest.mark.parametrize("y_th", [0.5, 2.0])
def test_a_whole_threshold_rounds_up_but_for_the_edges(L, y_th):
    """There it fires one step more: ceil(x) is floor(x + 1) unless x is whole."""
    ann, image = layer(f"qcfs:{L}:ceil", y_th, L)
    found = simulate(convert(ann, "qcfs", image, start=1.0), image, L).mean(L)
    z = image.flatten() * L / y_th
    edge = (z == z.floor()) & (z >= 0) & (z < L)
    assert edge.sum() == L
    assert torch.equal(found, ann(image) + edge * y_th / L)


@pytest.mark.parametrize("T", [1, 4, 16])
def test_tcl_fires_the_floor_of_its_clip(T):
    y_th = 2.0
    ann, image = layer("tcl", y_th, T)
    found = simulate(convert(ann, "tcl", image), image, T).mean(T)
    assert found.flatten().tolist() == [y_th / T * math.floor(v * T / y_th) for v in ann(image).flatten().tolist()]


def test_slip_relu_fires_the_stairs():
    ann, image = layer("slip_relu:4:0.5", 2.0, 4)
    stairs, _ = layer("qcfs:4", 2.0, 4)
    found = simulate(convert(ann, "slip_relu", image), image, 4).mean(4)
    assert torch.equal(found, stairs(image)) and not torch.equal(found, ann(image))


@pytest.mark.parametrize("method, start", [("qcfs", 0.5), ("slip_relu", 0.5), ("tcl", 0.0)])
def test_thresholds_are_the_trained_ones(method, start):
    """Whether activations reach them or not; the trained source stays as it is."""
    net = random(residual())
    net.a1, net.a2, net.a3 = (make(OWN[method])() for _ in range(3))
    for activation, y_th in zip((net.a1, net.a2, net.a3), (0.5, 1.0, 64.0), strict=True):
        nn.init.constant_(activation.y_th, y_th)
    images = dyadic_images(5)
    ann = prepare(net, images)
    neurons = [m for m in convert(ann, method, images).children() if isinstance(m, IF)]
    assert [m.v_th.item() for m in neurons] == [0.5, 1, 64]
    assert [(m.v_init / m.v_th).item() for m in neurons] == [start] * 3 and not any(m.shift for m in neurons)
    neurons[0].v_th.zero_()
    assert activations(ann)["a1"].y_th == 0.5


@pytest.mark.parametrize("method", OWN)
def test_they_do_not_apply_to_other_networks(method):
    images = dyadic_images(5)
    ann = prepare(dyadic(residual()), images)
    with pytest.raises(UserError, match=f"{method} converts networks trained with {method}"):
        convert(ann, method, images)
