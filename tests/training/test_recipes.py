"""SpikingJelly's recipes on the same network and images (needs the extra `peers`).

What always differs: currents are divided by the threshold there and spikes multiplied with it, so that rounding may
move a spike.
"""

import math

import pytest
import torch
from nets import one_thread, random, residual  # noqa: F401
from torch import nn

from ann2snn.conversion.neurons import Neuron
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.simulation.simulate import simulate

ann2snn = pytest.importorskip("spikingjelly.activation_based.ann2snn")
functional = pytest.importorskip("spikingjelly.activation_based.functional")

T = 16


def plain():
    """A convolution and linear layers, of each a channel is never active: (2, 4, 4) -> 3 classes."""
    layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)
    net = random(nn.Sequential(*layers))
    net[0].bias.data[1] = net[3].bias.data[1] = -100
    return net


@pytest.fixture(params=[residual, plain])
def net(request):
    return random(request.param()) if request.param is residual else request.param()


@pytest.fixture
def images():
    return torch.randn(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def theirs(recipe, net):
    """The converted network, and its thresholds by layer."""
    snn = ann2snn.Converter(recipe=recipe).convert(net)
    return snn, [m.scale.flatten() for name, m in snn.named_modules() if name.endswith("scaler1")]


def ours(net, method, images, **options):
    snn = convert(prepare(net, images), method, images, **options)
    return snn, [m.v_th.flatten() for m in snn.children() if isinstance(m, Neuron)]


def agree(peer, snn, images):
    functional.reset_net(peer)
    with torch.no_grad():
        total = sum(peer(images) for _ in range(T))
    return ((total - simulate(snn, images, T).outputs[T]).abs().amax(1) < 1e-3).float().mean() >= 0.9


def values(net, images):
    """All activations of every layer."""
    ann, found = prepare(net, images), []
    hooks = [m.register_forward_hook(lambda _m, _i, out: found.append(out)) for m in activations(ann).values()]
    ann(images)
    for hook in hooks:
        hook.remove()
    return found


def test_local_threshold_balancing(net, images):
    """The same batches: the same thresholds and spikes; a dead channel has 1e-6 there, here the layer's largest."""
    recipe = ann2snn.LocalThresholdBalancingRecipe([images[:10], images[10:]] * 3)
    (peer, found), (snn, expected) = theirs(recipe, net), ours(net, "ltb", images, iterations=6, batch=10)
    assert len(found) == len(expected)
    for value, v_th in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.where(value > 2e-6, value, v_th.max()), v_th)
    assert agree(peer, snn, images)


def test_rate_coding_by_the_maximum(net, images):
    """One batch: the same thresholds and spikes. Of several it takes a moving average of their maxima."""
    (peer, found), (snn, expected) = theirs(ann2snn.RateCodingRecipe([images]), net), ours(net, "max_norm", images)
    torch.testing.assert_close(torch.cat(found), torch.cat(expected))
    assert agree(peer, snn, images)
    _, moving = theirs(ann2snn.RateCodingRecipe([images[:10], images[10:]]), net)
    halves = [[value.max() for value in values(net, half)] for half in images.split(10)]
    for value, first, second in zip(moving, *halves, strict=True):
        torch.testing.assert_close(value[0], 0.9 * first + 0.1 * second)


def test_rate_coding_by_a_percentile(net, images):
    """Theirs is over all activations, interpolated; ours over those that are not 0, nearest rank: larger."""
    _, found = theirs(ann2snn.RateCodingRecipe([images], mode="90%"), net)
    _, expected = ours(net, "robust_norm", images, quantile=0.9)
    for value, v_th, seen in zip(found, expected, values(net, images), strict=True):
        torch.testing.assert_close(value[0], seen.quantile(0.9))
        active = seen[seen > 0].sort().values
        torch.testing.assert_close(v_th[0], active[math.ceil(0.9 * len(active)) - 1], rtol=2**-10, atol=0)
        assert v_th > value
