import pytest
import torch
from nets import one_thread, random  # noqa: F401
from torch import nn

from ann2snn.conversion.neurons import Neuron
from ann2snn.errors import UserError
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import ThresholdReLU


def chain():
    """A convolution and linear layers, of each a channel is never active: (2, 4, 4) -> 3 classes."""
    layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)
    net = random(nn.Sequential(*layers)).double()
    net[0].bias.data[1] = net[3].bias.data[1] = -100
    return net


def images_of(n):
    return torch.randn(n, 2, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))


def thresholds(ann, images, **options):
    snn = convert(ann, "ltb", images, **options)
    return {neuron.name: neuron.v_th for neuron in snn.children() if isinstance(neuron, Neuron)}


def balance(z, theta):
    """One step for (B, C, ...) and a list of C numbers, value by value: the new list, and what is passed on."""
    new = []
    for c, old in enumerate(theta):
        values = z[:, c].flatten().tolist()
        new.append(old + 2 * sum(value - old for value in values if value > old) / len(values))
    return new, torch.stack([z[:, c].clamp(0, top) for c, top in enumerate(new)], 1)


@pytest.mark.parametrize("iterations", [1, 2, 20])
def test_thresholds_equal_a_plain_loop(iterations):
    net, images = chain(), images_of(7)
    first, second = [0.0] * 3, [0.0] * 5
    for k in range(iterations):
        part = torch.stack([images[(3 * k + i) % 7] for i in range(3)])
        first, a = balance(net[0](part), first)
        second, _ = balance(net[3](a.flatten(1)), second)
    found = thresholds(prepare(net, images), images, iterations=iterations, batch=3)
    assert first[1] == second[1] == 0 and sum(first) > 0 and sum(second) > 0
    first, second = ([top or max(of) for top in of] for of in (first, second))  # the floor of what was never active
    torch.testing.assert_close(found["1"].flatten(), torch.tensor(first, dtype=torch.double))
    torch.testing.assert_close(found["4"], torch.tensor(second, dtype=torch.double))


def wires():
    """Two units in a row, each with weight 1 and a ReLU."""
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    for layer in net[::2]:
        layer.weight.data.fill_(1)
        layer.bias.data.zero_()
    return prepare(net.eval(), torch.zeros(1, 1).double())


@pytest.mark.parametrize(
    "values, iterations, first, second",
    [
        ([1, 3, -2, 6], 1, 5, 4.5),  # 2 x 10/4; then of 1, 3, 0, 5
        ([1, 3, -2, 6], 2, 5.5, 5),  # + 2 x 1/4; then of 1, 3, 0, 5.5, of which 1 lies above 4.5
        ([1, 3, -2, 6], 3, 5.75, 5.375),  # + 2 x 0.5/4; + 2 x 0.75/4
        ([4], 1, 8, 8),  # far above the largest value: a fixed point
        ([4], 50, 8, 8),
    ],
)
def test_by_hand(values, iterations, first, second):
    images = torch.tensor(values).double()[:, None]
    found = thresholds(wires(), images, iterations=iterations, batch=len(values))
    assert [found["1"].item(), found["3"].item()] == [first, second]


def test_thresholds_approach_the_largest_activation_and_stay_below():
    """The largest value of four closes half of the gap at each iteration."""
    images = torch.tensor([1.0, 3, -2, 6]).double()[:, None]
    for n in (4, 8, 16):
        assert thresholds(wires(), images, iterations=n, batch=4)["1"].item() == 6 - 0.5 ** (n - 1)


def test_what_the_neurons_are():
    """Start at half of the threshold, the shift of the training taken back, fewer images than a batch."""
    net, images = chain(), images_of(3)
    net[1] = ThresholdReLU(2.0, shift=0.25)
    ann = prepare(net, images)
    snn = convert(ann, "ltb", images, iterations=5)
    for neuron in (m for m in snn.children() if isinstance(m, Neuron)):
        assert torch.equal(neuron.v_init, neuron.v_th / 2)
        assert neuron.shift == (-0.25 if neuron.name == "1" else 0)
        assert torch.equal(neuron.v_th, thresholds(ann, images, iterations=5, batch=3)[neuron.name])


def test_what_is_refused():
    net, images = chain(), images_of(3)
    for options in ({"iterations": 0}, {"batch": 0}):
        with pytest.raises(UserError, match="of ltb is a whole number of 1 or more"):
            convert(prepare(net, images), "ltb", images, **options)
