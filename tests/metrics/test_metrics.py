import math

import pytest
import torch
import torch.nn.functional as F
from nets import Net, dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from torch import nn

from ann2snn.conversion.neurons import IF
from ann2snn.conversion.surgery import replace_activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.metrics.operations import costs
from ann2snn.simulation.simulate import simulate

SHAPE = (2, 5, 4)


# the plain count: loops over outputs and weights (`reach`: how many weights lie behind a unit, (C, H, W))


def conv(layer, shape):
    """How many weights of a convolution every unit of its input (C, H, W) meets."""
    channels, *size = shape
    reach = torch.zeros(shape)
    (sy, sx), (py, px), (dy, dx) = layer.stride, layer.padding, layer.dilation
    outs = layer(torch.zeros(1, *shape)).shape[2:]
    group = channels // layer.groups
    for o in range(layer.out_channels):
        first = o // (layer.out_channels // layer.groups) * group
        for i in range(outs[0]):
            for j in range(outs[1]):
                for c in range(first, first + group):
                    for a in range(layer.kernel_size[0]):
                        for b in range(layer.kernel_size[1]):
                            y, x = i * sy - py + a * dy, j * sx - px + b * dx
                            if 0 <= y < size[0] and 0 <= x < size[1]:
                                reach[c, y, x] += 1
    return reach


def linear(layer, shape):
    return torch.full(shape, float(layer.out_features))


def windows(behind, shape, rows, columns):
    """Through a pool: a unit reaches what lies behind every window that covers it."""
    reach = torch.zeros(shape)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            for y in range(max(top, 0), min(bottom, shape[1])):
                for x in range(max(left, 0), min(right, shape[2])):
                    reach[:, y, x] += behind[:, i, j]
    return reach


def adaptive(n, out):
    return [(math.floor(i * n / out), math.ceil((i + 1) * n / out)) for i in range(out)]


def net(forward, **modules):
    return random(Net(forward, a=nn.ReLU(), **modules))


GROUPED = nn.Conv2d(2, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(2, 1), groups=2)
WIDE, ONE, SMALL, HEAD = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 2), nn.Linear(18, 4)
THIN = nn.Conv2d(4, 3, 2, stride=2)
RING = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")
# a network on (2, 5, 4), and what a spike of each of its layers reaches
CASES = {
    "strides, groups, dilation, borders": (
        net(lambda s, x: s.a(s.g(s.a(x))), g=GROUPED),
        {"a": conv(GROUPED, SHAPE), "a@1": torch.zeros(6, 3, 5)},
    ),
    "circular border": (net(lambda s, x: s.g(s.a(x)), g=RING), {"a": torch.full(SHAPE, 27.0)}),
    "both branches": (
        net(lambda s, x: s.a(s.g(s.a(x)) + s.h(s.a(x))), g=WIDE, h=ONE),
        {"a": conv(WIDE, SHAPE), "a@1": conv(ONE, SHAPE), "a@2": torch.zeros(3, 5, 4)},
    ),
    "one neuron, two branches": (
        net(lambda s, x: (lambda y: s.g(y) + s.h(y))(s.a(x)), g=WIDE, h=ONE),
        {"a": conv(WIDE, SHAPE) + conv(ONE, SHAPE)},
    ),
    "identity branch": (
        net(lambda s, x: (lambda y: s.h(s.g(y) + y))(s.a(x)), g=nn.Conv2d(2, 2, 3, padding=1), h=ONE),
        {"a": conv(nn.Conv2d(2, 2, 3, padding=1), SHAPE) + conv(ONE, SHAPE)},
    ),
    "average pool": (
        net(lambda s, x: s.g(F.avg_pool2d(s.a(x), 3, 2, 1, count_include_pad=False)), g=SMALL),
        {"a": windows(conv(SMALL, (2, 3, 2)), SHAPE, [(-1, 2), (1, 4), (3, 6)], [(-1, 2), (1, 4)])},
    ),
    "adaptive pool that does not divide": (
        net(lambda s, x: s.f(F.adaptive_avg_pool2d(s.a(x), 3).flatten(1)), f=HEAD),
        {"a": windows(linear(HEAD, (2, 3, 3)), SHAPE, adaptive(5, 3), adaptive(4, 3))},
    ),
    "global mean": (
        net(lambda s, x: s.f(s.a(x).mean((2, 3))), f=nn.Linear(2, 7)),
        {"a": torch.full(SHAPE, 7.0)},
    ),
    "global mean, dimensions kept": (
        net(lambda s, x: s.g(s.a(x).mean((2, 3), keepdim=True)), g=ONE),
        {"a": torch.full(SHAPE, 3.0)},
    ),
    "max-pool that a second branch bypasses": (
        net(
            lambda s, x: (lambda y: s.g(s.p(y)).flatten(1) + s.f(y.flatten(1)))(s.a(x)),
            p=nn.MaxPool2d(2),
            g=SMALL,
            f=nn.Linear(40, 3),
        ),
        {"a": torch.full(SHAPE, 3.0), "p": conv(SMALL, (2, 2, 2))},
    ),
    "max-pool moved before its neuron": (
        net(lambda s, x: s.g(s.p(s.a(x))), p=nn.MaxPool2d(2), g=SMALL),
        {"a": conv(SMALL, (2, 2, 2))},
    ),
    "slice, pad, constant": (
        net(
            lambda s, x: s.g(torch.add(F.pad(s.a(x)[:, :, ::2], (0, 0, 0, 0, 0, 2)), s.k, alpha=-2)),
            g=THIN,
            k=nn.Parameter(torch.ones(4, 1, 1)),
        ),
        {"a": torch.zeros(SHAPE).index_copy(1, torch.tensor([0, 2, 4]), conv(THIN, (4, 3, 4))[:2])},
    ),
    "cat, weighted sum": (
        net(lambda s, x: s.h(torch.cat((s.a(x), torch.add(x, s.a(x), alpha=3)), 1)), h=nn.Conv2d(4, 5, 1)),
        {"a": torch.full(SHAPE, 5.0), "a@1": torch.full(SHAPE, 5.0)},
    ),
    "batch norm between": (
        net(lambda s, x: s.g(s.b(F.avg_pool2d(s.a(x), (1, 2)))), g=ONE, b=nn.BatchNorm2d(2)),
        {"a": torch.full(SHAPE, 3.0)},
    ),
}


def test_a_factor_of_zero_passes_nothing_on():
    network = CASES["batch norm between"][0]
    network.b.weight.data[0] = 0
    found = costs(prepare(network, torch.zeros(1, *SHAPE)), SHAPE).fan_out["a"]
    network.b.weight.data[0] = 1
    assert not found[0].any() and (found[1] == 3).all()


@pytest.mark.parametrize("name", CASES)
def test_operations_against_a_plain_count(name):
    network, reach = CASES[name]
    images = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    ann = prepare(network, images)
    found = costs(ann, SHAPE)
    assert found.fan_out.keys() == reach.keys()
    for layer, expected in reach.items():
        assert torch.equal(found.fan_out[layer], expected.long())
    snn = convert(ann, "optimal", images, T=4)
    assert all(torch.equal(f, found.fan_out[layer]) for layer, f in costs(snn, SHAPE).fan_out.items())
    events = simulate(snn, images).events[4]
    total = 0
    for layer, operations in found.operations(events).items():
        plain = 0
        for unit, count in enumerate(events[layer].flatten().tolist()):
            plain += count * int(reach[layer].flatten()[unit])
        assert operations == plain
        total += operations
    assert total > 0


def test_operations_do_not_depend_on_the_scale_of_the_thresholds():
    images = dyadic_images(9)
    found = []
    for scale in (1, 16):
        net = dyadic(residual())
        for layer in (net.c1, net.c3):
            layer.weight.data *= scale
            layer.bias.data *= scale
        ann = prepare(net, images)
        snn = replace_activations(ann, lambda a, scale=scale: IF(2.0 * scale))
        found.append(costs(ann, (2, 4, 4)).operations(simulate(snn, images, 8).events[8]))
    assert found[0] == found[1] and found[0]["a1"] > 0 and found[0]["a3"] > 0  # behind a2 lies a pool and no weight


def test_macs_neurons_and_analog_layers():
    found = costs(prepare(random(residual()), torch.zeros(1, 2, 4, 4)), (2, 4, 4))
    assert found.macs == {"c1": 16 * 3 * 18, "c2": 16 * 3 * 27, "c3": 16 * 3 * 2, "fc": 36}
    assert found.neurons == {"a1": 48, "a2": 48, "a3": 12}
    assert found.analog == ("c1", "c3")
    grouped = costs(prepare(CASES["strides, groups, dilation, borders"][0], torch.zeros(1, *SHAPE)), SHAPE)
    assert grouped.macs == {"g": (3 * 5 * 6) * 3 * 2} and grouped.analog == ()


def test_layers_behind_a_pool_of_the_image_or_a_sum_with_it_are_analog():
    forward = lambda s, x: s.h(s.a(s.g(F.max_pool2d(x, 2))) + F.max_pool2d(x, 2))  # noqa: E731
    found = costs(prepare(net(forward, g=nn.Conv2d(2, 2, 1), h=ONE), torch.zeros(1, *SHAPE)), SHAPE)
    assert found.analog == ("g", "h") and set(found.fan_out) == {"a"}


def test_a_pool_of_image_and_spikes_counts_its_own_events():
    """Its maximum is passed on as events of its own, which cost what lies behind it."""
    forward = lambda s, x: s.h(s.b(s.g(s.p(x + s.a(x)))).flatten(1))  # noqa: E731
    two = net(forward, p=nn.MaxPool2d(2), g=SMALL, b=nn.ReLU(), h=nn.Linear(SMALL.out_channels, 3))
    found = costs(prepare(two, torch.zeros(1, *SHAPE)), SHAPE)
    assert torch.equal(found.fan_out["p"], conv(SMALL, (2, 2, 2)).long()) and not found.fan_out["a"].any()
    assert found.analog == ()


def test_macs_of_a_known_network():
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    ann = prepare(squeezenet1_1(), torch.zeros(1, 3, 224, 224))
    macs = costs(ann, (3, 224, 224)).macs
    assert sum(macs.values()) / 1e9 == pytest.approx(SqueezeNet1_1_Weights.DEFAULT.meta["_ops"], abs=5e-4)
    assert macs["features.0"] == 111 * 111 * 64 * 27
