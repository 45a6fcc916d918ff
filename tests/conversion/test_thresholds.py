"""What sets thresholds: by channel, by quantisation error, by the spiking network's own currents."""

import copy

import pytest
import torch
from nets import copies, dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from oracle import Spiking, engine
from torch import nn

from ann2snn.baselines.mmse import GRID, mmse_threshold, squared_errors
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.thresholds import UNREACHABLE
from ann2snn.errors import UserError
from ann2snn.experiments.layer_errors import neurons_by_path
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.simulation.simulate import simulate


def by_name(snn):
    return {neuron.name: neuron for neuron in neurons_by_path(snn).values()}


def test_channel_norm_takes_the_exact_maxima_in_one_pass():
    images = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    ann = prepare(random(residual()), images)
    seen = {}
    hooks = [m.register_forward_hook(lambda m, _, out: seen.update({m.name: out})) for m in activations(ann).values()]
    ann(images)
    for hook in hooks:
        hook.remove()
    stats = Statistics(ann, lambda: [images])
    for name, neuron in by_name(convert(ann, "channel_norm", stats, start=0.5)).items():
        assert torch.equal(neuron.v_th, seen[name].amax((0, 2, 3))[:, None, None])
        assert torch.equal(neuron.v_init, neuron.v_th / 2)
    assert stats.used == {"maxima"}
    for name, neuron in by_name(convert(ann, "channel_norm", stats, quantile=0.9)).items():
        assert torch.equal(neuron.v_th, stats[name].quantile(0.9, nonzero=True, per_channel=True))


def test_channel_norm_is_weight_normalisation_by_channel():
    """Weights from channel i to j times lambda_i / lambda_j, biases over lambda_j, and V = 1: the same spikes."""
    net = dyadic(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4), nn.ReLU()), seed=2)
    net[1], net[4] = ThresholdReLU(4.0), ThresholdReLU(2.0)
    images = dyadic_images(40, seed=3)
    scaled = convert(prepare(net, images), "channel_norm", images)
    first, second = (neuron.v_th for neuron in neurons_by_path(scaled).values())
    assert len(first.unique()) > 1 or len(second.unique()) > 1
    first, second = (2.0 ** v.log2().round() for v in (first, second))  # powers of two keep everything exact
    for neuron, v in zip(neurons_by_path(scaled).values(), (first, second), strict=True):
        neuron.v_th = v
    normalised = copy.deepcopy(net)
    with torch.no_grad():
        normalised[0].weight.div_(first[..., None])
        normalised[0].bias.div_(first.flatten())
        normalised[3].weight.mul_(first.expand(3, 2, 2).flatten() / second[:, None])
        normalised[3].bias.div_(second)
    unit = convert(prepare(normalised, images), "channel_norm", images)
    for neuron in neurons_by_path(unit).values():
        neuron.v_th = torch.ones_like(neuron.v_th)
    a, b = (simulate(snn, images, 12, at=range(1, 13)) for snn in (scaled, unit))
    for t in range(1, 13):
        assert all(torch.equal(count, b.events[t][layer]) for layer, count in a.events[t].items())


def quantised(a, v, T, error):
    """Written from the definition, value by value."""
    steps = torch.floor(a * T / v + (0.5 if error == "round" else 0.0))
    return v / T * steps.clamp(0, T)


def beside_an_edge(values, v, T, error):
    """How many values another bin's width would put on another step; to round, that is no difference."""
    steps = values[values > 0].double() * T / v
    edges = steps.round().clamp(1, T)
    return int(((steps - edges).abs() <= 2**-10 * steps).sum()) if error == "floor" else 0


def searched(values, T, error):
    """(errors of all 95 thresholds) of raw values."""
    values = values.double().flatten()
    return torch.stack([((values - quantised(values, v, T, error)) ** 2).sum() for v in GRID * values.max()])


@pytest.fixture(scope="module")
def wide():
    """(N, C, H, W) half of it zero, with tails, of different size by channel; one channel is saturated."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, 4, 6, 6, generator=generator).relu() ** torch.tensor([1, 2, 3, 1.0])[:, None, None]
    values[:, 3] = values[:, 3].clamp(max=0.7)
    return values * torch.tensor([1.0, 30.0, 0.01, 5.0])[:, None, None]


@pytest.mark.parametrize("error", ["round", "floor"])
@pytest.mark.parametrize("T", [1, 4, 16, 64])
def test_mmse_against_a_search_over_the_raw_values(wide, T, error):
    stats = copies(wide)
    for per_channel in (True, False):
        found = mmse_threshold(stats, T, error, per_channel)
        parts = wide.transpose(0, 1) if per_channel else [wide]
        assert found.shape == (stats.channel_max.shape if per_channel else ())
        rows = [row for part in stats.histogram(per_channel=per_channel) for row in zip(*part, strict=True)]
        for part, v, (values, counts) in zip(parts, found.flatten(), rows, strict=True):
            exact = searched(part, T, error)
            grid = GRID * part.max()
            errors = squared_errors(values[None], counts[None], grid[None], T, error)[0]
            near = torch.tensor([beside_an_edge(part, v, T, error) for v in grid])
            assert ((errors - exact).abs() <= 0.005 * exact + near * (grid / T) ** 2).all()
            assert ((errors - exact).abs() <= 0.01 * exact).double().mean() > 0.95
            place = (grid - v).abs().argmin()
            assert v == grid[place].float() and exact[place] <= 1.005 * exact.min()


def test_mmse_does_not_depend_on_batches_or_order(wide):
    ann = prepare(dyadic(residual()), dyadic_images(1))
    images = dyadic_images(30)
    ways = [Statistics(ann, lambda size=size: images.flip(0).split(size)) for size in (1, 7, 30)]
    for name in activations(ann):
        one, *others = (mmse_threshold(stats[name], 8, "round") for stats in ways)
        assert all(torch.equal(one, other) for other in others)


def test_mmse_by_hand():
    """Values 1 (x3) and 4, T = 1: V = 4 leaves 3 (floor); 3 spikes at V = v leave 3 (1 - v)^2 + (4 - v)^2."""
    stats = copies(torch.tensor([[1.0], [1.0], [1.0], [4.0]]))
    # floor: v at or below 1 leaves 9 or more, a v above leaves 3 + (4 - v)^2
    assert mmse_threshold(stats, 1, "floor").item() == 4
    # half up: at v <= 2 all four spike and leave 6.75 or more (v = 1.75)
    assert mmse_threshold(stats, 1, "round").item() == 4
    many = copies(torch.tensor([[1.0]] * 60 + [[4.0]]))  # floor: 60 at v = 4; 9 at v = 1
    assert mmse_threshold(many, 1, "floor").item() == pytest.approx(1, abs=0.041)


def test_mmse_search_at_its_edges():
    far = copies(torch.tensor([[0.05]] * 4000 + [[1.0]]))  # 0.05 would leave the least: the outlier is one of 4,001
    assert mmse_threshold(far, 1, "round").item() == pytest.approx(0.06)
    same = copies(torch.full((9, 1), 2.5))
    assert mmse_threshold(same, 4, "floor").item() == 2.5
    assert mmse_threshold(copies(torch.zeros(5, 2)), 4).tolist() == [UNREACHABLE] * 2
    dead = mmse_threshold(copies(torch.tensor([[0.0, 2.0], [0.0, 2.0]])), 2)
    assert dead[0] == dead[1] == 2


def test_mmse_neurons(wide):
    images = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    net = random(residual())
    net.a1, net.a2, net.a3 = (ThresholdReLU(3.0, shift=0.25) for _ in range(3))
    ann = prepare(net, images)
    stats = Statistics(ann, lambda: [images])
    for options in ({}, {"error": "floor", "per_channel": False}):
        snn = convert(ann, "mmse", stats, T=8, **options)
        for name, neuron in by_name(snn).items():
            error, per_channel = options.get("error", "round"), options.get("per_channel", True)
            assert torch.equal(neuron.v_th, mmse_threshold(stats[name], 8, error, per_channel))
            assert torch.equal(neuron.shift, neuron.v_th / 16 - 0.25)
    with pytest.raises(UserError, match="error of mmse is 'round' or 'floor', not 'ceil'"):
        convert(ann, "mmse", stats, T=8, error="ceil")


def balanced(net, images, steps, reset, factor):
    """Thresholds by a plain float64 loop: for every layer all steps anew from the start of the network."""
    thresholds = {}
    for name in ("a1", "a2", "a3"):
        loop, arrived = copy.deepcopy(net).double(), []
        for other in ("a1", "a2", "a3"):
            setattr(loop, other, Spiking(thresholds.get(other, 1e9), reset, 0.0, 0.0))
        hook = lambda _m, given, _o, arrived=arrived: arrived.append(given[0].max().item())  # noqa: E731
        getattr(loop, name).register_forward_hook(hook)
        with torch.no_grad():
            for _ in range(steps):
                loop(images.double())
        thresholds[name] = factor * max(arrived)
    return thresholds


@pytest.mark.parametrize("way", [{}, {"compiled": False}])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_spike_norm_against_a_plain_loop(reset, way):
    """Dyadic, so exactly."""
    net, images = dyadic(residual(), seed=1), dyadic_images(140)
    wanted = balanced(net, images[:128], 20, reset, 1.0)
    with engine(**way):
        snn = convert(prepare(net, images), "spike_norm", images, reset=reset, steps=20)
    assert {name: neuron.v_th.item() for name, neuron in by_name(snn).items()} == wanted
    assert wanted["a1"] < wanted["a2"] == wanted["a3"]  # a3 hears the average of four spikes of a2


def test_rmp_by_hand_and_against_the_loop():
    """x = 4 through weight 1: V = alpha 4 = 2, a spike at every step, worth 2: the next layer's input is 3 * 2 = 6."""
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).eval()
    with torch.no_grad():
        for layer, weight in ((0, 1.0), (2, 3.0), (4, 1.0)):
            net[layer].weight.fill_(weight)
            net[layer].bias.fill_(0)
    image = torch.tensor([[4.0]])
    snn = convert(prepare(net, image), "rmp", image, alpha=0.5, steps=5)
    assert [neuron.v_th.item() for neuron in neurons_by_path(snn).values()] == [2, 3]
    assert simulate(snn, image, 4).mean(4).item() == 3  # 12 in the network: both layers clip
    snn = convert(prepare(net, image), "spike_norm", image, steps=5)
    assert [neuron.v_th.item() for neuron in neurons_by_path(snn).values()] == [4, 12]
    net, images = dyadic(residual(), seed=1), dyadic_images(9)
    snn = convert(prepare(net, images), "rmp", images, alpha=0.75, steps=12)
    wanted = balanced(net, images, 12, "soft", 0.75)
    assert {name: neuron.v_th.item() for name, neuron in by_name(snn).items()} == wanted


def test_rmp_refuses_thresholds_of_zero():
    with pytest.raises(UserError, match="alpha of rmp is a number above 0"):
        convert(prepare(random(residual()), torch.randn(8, 2, 4, 4)), "rmp", torch.randn(8, 2, 4, 4), alpha=0, steps=3)


def test_balancing_takes_fewer_images_where_trains_are_long(monkeypatch):
    from ann2snn.baselines import spike_norm

    net, images, taken = dyadic(residual()), dyadic_images(20), []
    monkeypatch.setattr(spike_norm, "MAX_BYTES", 48 * 10 * 7 // 8)  # 48 units, 10 steps, 7 images
    monkeypatch.setattr(spike_norm, "layer_by_layer", lambda snn, images, T, visit: taken.append((len(images), T)))
    convert(prepare(net, images), "spike_norm", images, steps=10)
    assert taken == [(7, 10)]
