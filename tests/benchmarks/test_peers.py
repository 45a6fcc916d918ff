"""Other libraries' neurons in our networks give our outputs (needs the extra `peers`)."""

import pytest
import torch
from nets import Net, dyadic, dyadic_images, residual
from torch import nn
from torch.nn.functional import pad

from ann2snn import IF, Statistics, UserError, convert, prepare, replace_activations, simulate, threshold
from ann2snn.benchmarks.peers import PEERS, agreement
from ann2snn.networks.registry import create

pytest.importorskip("spikingjelly")
pytest.importorskip("sinabs")

peers = pytest.mark.parametrize("peer", PEERS)


def shortcut():
    """Depthwise and grouped convolutions, a shortcut that skips pixels and pads channels: (2, 4, 4) -> 3 classes."""

    def forward(s, x):
        x = s.a1(s.c1(x))
        y = s.c3(s.a2(s.c2(x)))
        x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return s.fc(s.a3(x + y).mean((2, 3)))

    return Net(
        forward,
        c1=nn.Conv2d(2, 4, 3, padding=1),
        a1=nn.ReLU(),
        c2=nn.Conv2d(4, 4, 3, padding=1, groups=4),
        a2=nn.ReLU(),
        c3=nn.Conv2d(4, 8, 3, 2, padding=1, groups=2),
        a3=nn.ReLU(),
        fc=nn.Linear(8, 3),
    )


def with_half_start(ann, images, statistic):
    """Thresholds are the largest activations, of a layer (`max`) or of every channel (`channel_max`)."""
    stats = Statistics(ann, lambda: [images])

    def neuron(activation):
        v_th = threshold(getattr(stats[activation.name], statistic), activation.name)
        return IF(v_th, v_init=v_th / 2)

    return replace_activations(ann, neuron)


@peers
@pytest.mark.parametrize("statistic", ["max", "channel_max"])
@pytest.mark.parametrize("net", [residual, shortcut])
def test_peers_are_exact_where_arithmetic_is(net, statistic, peer):
    images = dyadic_images(6)
    snn = with_half_start(prepare(dyadic(net()), images), images, statistic)
    run = PEERS[peer](snn)
    for n, T in ((6, 7), (2, 1), (6, 8)):
        ours = simulate(snn, images[:n], T)
        assert all(ours.spikes(T).values())
        assert torch.equal(run(images[:n], T), ours.outputs[T])


@peers
def test_the_network_of_the_caller_is_unchanged(peer):
    images = dyadic_images(2)
    snn = with_half_start(prepare(dyadic(residual()), images), images, "max")
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    PEERS[peer](snn)(images, 2)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())


@peers
@pytest.mark.parametrize("method, options", [("opi", {"reset": "hard"}), ("optimal", {})])
def test_what_is_not_compared(peer, method, options):
    images = dyadic_images(2)
    snn = convert(prepare(dyadic(residual()), images), method, images, 4, **options)
    with pytest.raises(UserError, match="^a1: .*soft reset and no shift"):
        PEERS[peer](snn)


@peers
def test_max_pools_are_refused(peer):
    images = dyadic_images(2)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 3))
    snn = convert(prepare(dyadic(net), images), "opi", images)
    with pytest.raises(UserError, match="^2: peers have no max-pool"):
        PEERS[peer](snn)


@pytest.mark.parametrize(
    "name, pixels, classes", [("cifar_resnet20", 32, 10), ("deng_vgg16", 32, 10), ("mobilenetv2_100", 224, 1000)]
)
def test_peers_agree_on_large_networks(name, pixels, classes):
    """Random weights: outputs differ by rounding, or where a membrane so near to its threshold moved a spike."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, pixels, pixels)
    ann = prepare(create(name, num_classes=classes, in_chans=3).eval(), images)
    snn = convert(ann, "opi", images)
    ours = simulate(snn, images, 4)
    assert all(ours.spikes(4).values())
    for peer in PEERS.values():
        outputs = peer(snn)(images, 4)
        near = (outputs - ours.outputs[4]).abs().amax(1) < 1e-4 * ours.outputs[4].abs().max()
        assert near.sum() >= 2
        assert agreement(outputs, ours.outputs[4]) >= 0.75
