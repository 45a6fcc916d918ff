"""SNN calibration and FTBC against loops in float64 that know nothing of the suite."""

import copy

import pytest
import torch
from nets import one_thread, random, residual  # noqa: F401
from oracle import oracle
from torch import nn

from ann2snn.baselines import (
    ftbc,
    mmse,
)
from ann2snn.baselines.mmse import mmse_threshold
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.neurons import Neuron, TimeVaryingIF
from ann2snn.errors import UserError
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.simulation import simulate as simulation_simulate
from ann2snn.simulation.simulate import simulate


def pooled():
    """A max-pool of currents, and a hidden linear layer."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def shifted():
    """Its activations were trained with a shift."""
    net = residual()
    net.a1, net.a2, net.a3 = (ThresholdReLU(2.0, shift=0.25) for _ in range(3))
    return net


each_net = pytest.mark.parametrize("net", [residual, pooled, shifted])


@pytest.fixture(scope="module")
def images():
    return torch.randn(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def ready(net, images):
    """The random network, as it is and prepared, and its statistics."""
    net = random(net())
    ann = prepare(net, images)
    return net, ann, Statistics(ann, lambda: images.split(7))


def neurons(snn):
    return {m.name: m for m in snn.children() if isinstance(m, Neuron)}


def means(net, names, images):
    """The mean of every unit over the images, in float64."""
    net, found = copy.deepcopy(net).double(), {}
    for name in names:
        net.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out.mean(0)}))
    net(images.double())
    return found


def by_channel(unit):
    """(C, H, W) or (F,) -> (C, 1, 1) or (F,)."""
    return unit.mean((1, 2), keepdim=True) if unit.dim() == 3 else unit


@each_net
@pytest.mark.parametrize("method", ["snnc_lp", "snnc_ap"])
@pytest.mark.parametrize("per_channel, T", [(False, 6), (True, 11)])
def test_one_layer_after_the_other(net, method, per_channel, T, images):
    """Every layer's shift or start potential from a whole simulation with all layers before it corrected."""
    net, ann, stats = ready(net, images)
    found = neurons(convert(ann, method, stats, T=T, per_channel=per_channel))
    v = {name: mmse_threshold(stats[name], T, "floor", per_channel) for name in found}
    assert all(torch.equal(found[name].v_th, v[name]) for name in v)
    v = {name: value.double() for name, value in v.items()}
    expected = means(net, v, images)
    chosen = {n: (v[n], "soft", v[n] / (2 * T) - getattr(net.get_submodule(n), "shift", 0), 0) for n in v}
    for name, (v_th, reset, shift, start) in chosen.items():
        _, counts, _ = oracle(net, chosen, images, T)
        excess = v_th * counts[-1][name] / (T * len(images)) - expected[name]
        if method == "snnc_lp":
            shift = shift - by_channel(excess)
        else:
            start = -T * excess
        assert excess.abs().max() > 0.01
        chosen[name] = v_th, reset, shift, start
        for value, wanted in ((found[name].shift, shift), (found[name].v_init, torch.as_tensor(start))):
            torch.testing.assert_close(value.double(), wanted.double(), rtol=1e-5, atol=1e-6)


class Stepwise(nn.Module):
    """Fires, measures, takes the spikes and the old bias back, corrects the bias and fires again."""

    def __init__(self, v, shift, T):
        super().__init__()
        self.v, self.shift, self.b, self.learns, self.alpha = v, shift, [0.0] * T, False, 0.5

    def begin(self):
        self.m, self.t = 0.0, 0

    def forward(self, current):
        self.m = self.m + current + self.shift - self.b[self.t]
        spikes = self.v * (self.m >= self.v)
        self.m = self.m - spikes
        if self.learns:
            old = self.b[self.t]
            self.b[self.t] = old + self.alpha * (by_channel(spikes.mean(0)) - self.expected)
            self.m = self.m + spikes + old - self.b[self.t]
            spikes = self.v * (self.m >= self.v)
            self.m = self.m - spikes
        self.t += 1
        return spikes


@each_net
def test_ftbc_is_the_sweep_of_the_code(net, images):
    """Batch after batch, layer after layer, step after step; the third batch is the first one again."""
    net, ann, stats = ready(net, images)
    T, parts = 7, images.split(12)
    snn = convert(ann, "ftbc", stats, T=T, updates=5, batch=12, alpha=0.25)
    slow = copy.deepcopy(net).double()
    layers = {}
    for name, neuron in neurons(snn).items():
        assert type(neuron) is TimeVaryingIF
        v = mmse_threshold(stats[name], T, "floor", per_channel=name != "7")
        assert torch.equal(neuron.v_th, v)
        shift = v.double() / (2 * T) - getattr(net.get_submodule(name), "shift", 0)
        layers[name] = Stepwise(v.double(), shift, T)
        layers[name].alpha = 0.25
        setattr(slow, name, layers[name])
    pools = [m for m in slow.modules() if isinstance(m, nn.MaxPool2d)]
    for pool in pools:
        pool.register_forward_hook(increments)
    for part in [*parts, *parts, *parts][:5]:
        for name, layer in layers.items():
            layer.learns, layer.expected = True, by_channel(means(net, layers, part)[name])
            for other in [*layers.values(), *pools]:
                other.begin() if isinstance(other, Stepwise) else setattr(other, "total", 0)
            for _ in range(T):
                slow(part.double())
            layer.learns = False
    for name, neuron in neurons(snn).items():
        wanted = torch.stack([layers[name].shift - b for b in layers[name].b])
        assert neuron.shift.shape == wanted.shape and len(wanted.flatten(1).unique(dim=1).T) > 1
        torch.testing.assert_close(neuron.shift.double(), wanted, rtol=1e-5, atol=1e-6)


def increments(pool, arguments, _):
    """What the pooled cumulative current grows by."""
    before = pool.total
    pool.total = before + arguments[0]
    return pool.forward(pool.total) - (pool.forward(before) if torch.is_tensor(before) else 0)


def single():
    """One neuron, whose current is the pixel."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    nn.init.ones_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    return net


def test_ftbc_by_hand(monkeypatch):
    """V = 1, x = a = 1/2, T = 2, shift 1/4, alpha 1/2.

    First: m = 3/4 is silent, 1/2 too little, the shift becomes 1/2, m = 1 fires; the second step is the same.
    Then: m = 1 fires, 1/2 too much, the shift becomes 1/4 and m = 3/4 stays; m = 7/4 fires, 1/2 too much, the shift
    becomes 1/4, m = 3/2 fires: now the mean is 1/2.
    """
    monkeypatch.setattr(ftbc, "mmse_threshold", lambda *_, **__: torch.tensor(1.0))
    image = torch.full((1, 1, 1, 1), 0.5)
    ann = prepare(single(), image)
    for updates, shifts, spikes in (
        (0, [1 / 4, 1 / 4], [0, 1]),
        (1, [1 / 2, 1 / 2], [1, 2]),
        (2, [1 / 4, 1 / 4], [0, 1]),
    ):
        snn = convert(ann, "ftbc", image, T=2, updates=updates)
        assert neurons(snn)["2"].shift.flatten().tolist() == shifts
        events = simulate(snn, image, at=[1]).events
        assert [int(events[t]["2"]) for t in (1, 2)] == spikes


def test_calibration_by_hand(monkeypatch):
    """V = 1, T = 2, images 1/4 and 3/4, shift 1/4: one spike of the first, two of the second, mean 3/4, not 1/2."""
    monkeypatch.setattr(mmse, "mmse_threshold", lambda *_: torch.tensor(1.0))
    images = torch.tensor([0.25, 0.75]).reshape(2, 1, 1, 1)
    ann = prepare(single(), images)
    light, advanced = (neurons(convert(ann, method, images, T=2))["2"] for method in ("snnc_lp", "snnc_ap"))
    assert (light.shift.tolist(), light.v_init.tolist()) == ([0.0], 0.0)
    assert (advanced.shift.tolist(), advanced.v_init.tolist()) == (0.25, [-0.5])


def test_ftbc_brings_every_step_to_the_mean(images):
    """One layer, all images in a batch: what is left is what 320 values of a channel, 0 or V, cannot say."""
    T, chain = 8, (nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    ann = prepare(random(nn.Sequential(*chain)), images)
    expected = Statistics(ann, lambda: [images])["1"].channel_mean

    def gaps(updates):
        """(T,): how far the mean of every step is from the ANN's, summed over the channels."""
        snn = convert(ann, "ftbc", images, T=T, updates=updates)
        events = simulate(snn, images, at=range(1, T + 1)).events
        counts = torch.stack([events[t]["1"] for t in range(1, T + 1)]).float()
        counts = counts.diff(dim=0, prepend=torch.zeros_like(counts[:1])) / len(images)
        return (neurons(snn)["1"].v_th * counts.mean((2, 3), keepdim=True) - expected).abs().sum((1, 2, 3))

    assert (gaps(50) < gaps(0) / 5).all()


def test_batches_have_an_image(images):
    with pytest.raises(UserError, match="batch of ftbc is a whole number of 1 or more, such as 128, not 0"):
        convert(prepare(single(), images[:, :1, :1, :1]), "ftbc", images[:, :1, :1, :1], T=2, batch=0)


@pytest.mark.parametrize("method", ["snnc_lp", "snnc_ap", "ftbc"])
@pytest.mark.parametrize("size", [1, 6])
def test_images_may_come_in_parts(method, size, images, monkeypatch):
    _, ann, stats = ready(residual, images)
    options = {"updates": 3} if method == "ftbc" else {}
    together = neurons(convert(ann, method, stats, T=5, **options))
    monkeypatch.setattr(simulation_simulate, "batch_for", lambda *_: size)
    apart = neurons(convert(ann, method, Statistics(ann, lambda: images.split(size)), T=5, **options))
    for name, neuron in together.items():
        for buffer, value in neuron.named_buffers():
            torch.testing.assert_close(getattr(apart[name], buffer), value, rtol=1e-5, atol=1e-5)


def test_first_step_of_the_weights(images):
    """Adam's first step is the rate times g / (|g| + 1e-8), with the gradient g worked out by hand.

    The second layer hears the mean spikes of the first one as it then is. All 20 images are in the batch of 32.
    """
    T = 4
    net = random(nn.Sequential(nn.Flatten(), nn.Linear(32, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    net, images = net.double(), images.double()
    before = copy.deepcopy(net.state_dict())
    ann = prepare(net, images)
    stats = Statistics(ann, lambda: [images])
    snn = convert(ann, "snnc_ap", stats, T=T, iterations=1)
    heard = active = images.flatten(1)
    for linear, name in ((1, "2"), (3, "4")):
        weight, bias = before[f"{linear}.weight"], before[f"{linear}.bias"]
        active = (active @ weight.T + bias).relu()
        v, z = neurons(snn)[name].v_th, heard @ weight.T + bias
        quantised = v / T * (z * T / v).floor().clamp(0, T)
        error = 2 * (quantised - active) * ((z > 0) & (z < v)) / len(images)
        gradient = error.T @ heard
        weight = weight - 1e-5 * gradient / (gradient.abs() + 1e-8)
        found = next(m for m in snn.children() if isinstance(m, nn.Linear) and m.name == str(linear)).weight
        assert not torch.equal(found, before[f"{linear}.weight"])
        torch.testing.assert_close(found, weight, rtol=0, atol=1e-10)
        m, total = 0, 0
        for _ in range(T):
            m = m + heard @ weight.T + bias + v / (2 * T)
            spikes = v * (m >= v)
            m, total = m - spikes, total + spikes
        heard = total / T
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(torch.equal(m.weight, before[f"{m.name}.weight"]) for m in ann.children() if isinstance(m, nn.Linear))
