"""Methods whose layers hear a whole train before they fire."""

import copy
import itertools
import math
from fractions import Fraction

import pytest
import torch
from nets import dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from torch import nn

from ann2snn.baselines.accumulate_then_fire import AccumulateThenFire
from ann2snn.baselines.permute import Permuted, orders, reorder
from ann2snn.baselines.tpp import TPPNeuron, uniform_numbers
from ann2snn.conversion.neurons import IF, Neuron
from ann2snn.conversion.surgery import replace_activations
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import QCFS, ThresholdReLU
from ann2snn.simulation.simulate import simulate

METHODS = ("accumulate_then_fire", "da_qcfs", "tpp", "permute")


def neurons(snn):
    return {m.name: m for m in snn.children() if isinstance(m, Neuron)}


def exact(kind=nn.ReLU):
    """A network, its prepared form and images: in double precision their arithmetic is exact."""
    net, images = dyadic(residual()).double(), dyadic_images(6).double()
    net.a1, net.a2, net.a3 = (kind() for _ in range(3))
    return prepare(net.eval(), images), images


def seen(ann, images):
    """The activations of every layer."""
    found = {}
    hooks = [m.register_forward_hook(lambda m, _, out: found.update({m.name: out})) for m in activations(ann).values()]
    output = ann(images)
    for hook in hooks:
        hook.remove()
    return found, output


def half_start(ann, images):
    """Neurons with the largest activation of a channel as threshold that start at its half."""
    found, _ = seen(ann, images)

    def neuron(activation):
        v = found[activation.name].amax((0, 2, 3))[:, None, None]
        return IF(v.where(v > 0, v.max()), v_init=v.where(v > 0, v.max()) / 2)

    return replace_activations(ann, neuron)


# accumulate_then_fire


@pytest.mark.parametrize("T", [1, 2, 5, 8])
def test_accumulated_spikes_are_those_of_the_formula(T):
    """Value by value; the timing of the input is forgotten, and the spikes fill the first steps."""
    v, start = 1.5, 0.75
    currents = torch.randint(-12, 13, (T, 1, 400), generator=torch.Generator().manual_seed(T)) / 4
    neuron = AccumulateThenFire(torch.tensor(v), 0.0, torch.tensor(start))
    fired = neuron.run(currents) / v
    for unit, total in enumerate(currents.sum(0)[0].tolist()):
        mean, m, V = Fraction(total) / T, Fraction(start), Fraction(v)
        assert fired[:, 0, unit].tolist() == [int(Fraction(T, x) * mean + m / x >= V) for x in range(1, T + 1)]
        assert fired[:, 0, unit].sum() == min(max(math.floor(total / v + 0.5), 0), T)
    assert torch.equal(neuron.run(currents.flip(0)), neuron.run(currents)) and neuron.delay(T) == T
    constant = currents[:1].expand(T, 1, 400)
    counts = [layer.run(constant).count_nonzero(0) for layer in (neuron, IF(v, v_init=start))]
    assert torch.equal(*counts) and len(counts[0].unique()) > T / 2


@pytest.mark.parametrize("kind", [nn.ReLU, lambda: ThresholdReLU(2.0, shift=0.25)])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("T", [1, 2, 8])
def test_the_spiking_network_is_the_quantised_one(T, per_channel, kind):
    ann, images = exact(kind)
    found, _ = seen(ann, images)
    stairs = copy.deepcopy(ann)
    for name, activation in activations(stairs).items():
        v = found[name].amax((0, 2, 3), keepdim=True) if per_channel else found[name].max()
        v = torch.where(v > 0, v, v.max())
        shift = activation.shift
        activation.forward = lambda z, v=v, c=shift: v / T * torch.clamp(torch.floor((z - c) * T / v + 0.5), 0, T)
    snn = convert(ann, "accumulate_then_fire", images, T, per_channel=per_channel)
    for image in images.split(1):
        levels, output = seen(stairs, image)
        result = simulate(snn, image, T)
        assert torch.equal(result.mean(T), output)
        for name, neuron in neurons(snn).items():
            assert torch.equal(result.events[T][name] * neuron.v_th, T * levels[name][0])
    assert result.latency == {T: 4 * T}  # three layers wait


def test_a_quantised_source_loses_nothing():
    """With the trained thresholds and T = L; neurons that fire as they hear do not get there."""
    T, images = 4, dyadic_images(6).double()
    net = dyadic(residual()).double()
    net.a1, net.a2, net.a3 = (QCFS(T, y_th=2.0).double() for _ in range(3))
    ann = prepare(net.eval(), images)
    result = simulate(convert(ann, "accumulate_then_fire", images, T), images, T)
    assert torch.equal(result.mean(T), ann(images))
    assert not torch.equal(simulate(convert(ann, "qcfs", images), images, T).mean(T), ann(images))


def test_a_start_of_a_half_does_the_same_in_the_first_layer_only():
    ann, images = exact()
    whole = simulate(convert(ann, "accumulate_then_fire", images, 8), images, 8).events[8]
    streaming = simulate(half_start(ann, images), images, 8).events[8]
    assert torch.equal(whole["a1"], streaming["a1"]) and not torch.equal(whole["a3"], streaming["a3"])


# da_qcfs


def mean(values):
    """By channel, (C, 1, 1) or (F,)."""
    return torch.stack([values[:, c].mean() for c in range(values.shape[1])]).reshape(-1, *[1] * (values.dim() - 2))


@pytest.mark.parametrize("T", [1, 4])
def test_calibration_equals_a_plain_loop(T):
    """Network and quantised copy apart, layer after layer; then the spiking network is the calibrated copy."""
    layers = nn.Conv2d(2, 3, 3), ThresholdReLU(1.5, 0.125), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)
    net = random(nn.Sequential(*layers)).double()
    net[0].bias.data[1] = -100
    images = torch.randn(7, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    ann = prepare(net, images)
    a1 = net[1](net[0](images))
    a2 = torch.relu(net[3](a1.flatten(1)))
    v1, v2 = a1.amax((0, 2, 3)).reshape(3, 1, 1), a2.amax(0)
    assert v1[1] == 0 and v2[1] == 0  # the layer's largest instead
    v1, v2 = (v.where(v > 0, v.max()) for v in (v1, v2))
    r1, s1, r2, s2 = (torch.zeros_like(v) for v in (v1, v1, v2, v2))

    def stairs(z, v, r, s):
        return torch.floor((z + r) * T / v + 0.5).clamp(0, T) / T * (v + s)

    for k in range(9):
        part = images[[(3 * k + i) % 7 for i in range(3)]]
        z1, a1 = net[0](part) - 0.125, net[1](net[0](part))
        q1 = stairs(z1, v1, r1, s1)  # nothing comes before: r1 stays 0
        s1 = s1 + 0.01 * (mean(a1 - q1) - s1)
        z, z2 = net[3](a1.flatten(1)), net[3](q1.flatten(1))
        r2 = r2 + 0.01 * (mean(z - z2) - r2)
        s2 = s2 + 0.01 * (mean(z.relu() - stairs(z2, v2, r2, s2)) - s2)
    snn = convert(ann, "da_qcfs", images, T, iterations=9, batch=3)
    first, second = neurons(snn).values()
    for neuron, v, r, s in ((first, v1, r1, s1), (second, v2, r2, s2)):
        torch.testing.assert_close(neuron.v_th, v)
        torch.testing.assert_close(neuron.v_init, v / 2 + T * r)
        torch.testing.assert_close(neuron.amplitude, v + s)
    assert all((x != 0).any() for x in (s1, r2, s2)) and first.shift == -0.125
    copy1 = stairs(net[0](images) - 0.125, v1, r1, s1)
    copy2 = stairs(net[3](copy1.flatten(1)), v2, r2, s2)
    torch.testing.assert_close(simulate(snn, images, T).mean(T), net[5](copy2))


def test_calibrated_spikes_are_never_smaller_than_half_of_the_threshold():
    """The worst case: constant values just above V/2, which are rounded up to V = all that is fired at T = 1."""
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    net[0].weight.data.fill_(1)
    net[0].bias.data.zero_()
    images = torch.tensor([[1.0]] + [[0.5]] * 999).double()
    snn = convert(prepare(net, images), "da_qcfs", images, 1, iterations=2000, batch=1000)
    (neuron,) = neurons(snn).values()
    # s = mean(a) - (1 + s), so s = (0.5005 - 1) / 2
    assert neuron.amplitude.item() == pytest.approx(1 - 0.49950 / 2, abs=1e-6)


# tpp


def chances(x, T):
    """The probability of every arrangement of spikes over T steps, where m / V = x (a Fraction)."""
    found = {(): (Fraction(1), x)}
    for r in range(T, 0, -1):
        later = {}
        for spikes, (chance, left) in found.items():
            p = min(max(left / r, Fraction(0)), Fraction(1))
            for s, share in ((1, p), (0, 1 - p)):
                if share:
                    later[*spikes, s] = chance * share, left - s
        found = later
    return {spikes: chance for spikes, (chance, _) in found.items()}


X = [Fraction(k, 4) for k in range(-2, 20)]


@pytest.mark.parametrize("x", X)
def test_drawn_spikes_have_the_chances_of_the_rule(x):
    """At T = 4, by chi-square on 20,000 units, currents uneven over the steps; nothing that cannot be is drawn."""
    T, n, v = 4, 20_000, 0.5
    currents = torch.tensor([2.0, -1, 0, 0])[:, None, None] + torch.zeros(T, 1, n)
    currents[3] = float(x) * v - 1
    trains = (TPPNeuron(torch.tensor(v), 0.0, seed=3).run(currents)[:, 0] / v).int()
    expected = chances(x, T)
    counts = {spikes: 0 for spikes in expected}
    for spikes in map(tuple, trains.T.tolist()):
        counts[spikes] += 1
    chi = sum((counts[s] - n * p) ** 2 / (n * p) for s, p in expected.items())
    freedom = len(expected) - 1
    assert chi <= freedom + 4 * math.sqrt(2 * freedom)
    assert {sum(s) for s in expected} <= {min(max(k, 0), T) for k in (math.floor(x), math.ceil(x))}


@pytest.mark.parametrize("T", range(1, 7))
def test_whole_numbers_of_spikes_are_arranged_evenly(T):
    for k in range(T + 1):
        expected = chances(Fraction(k), T)
        arrangements = [s for s in itertools.product((0, 1), repeat=T) if sum(s) == k]
        assert expected == {s: Fraction(1, math.comb(T, k)) for s in arrangements}


@pytest.mark.parametrize("T", range(1, 7))
def test_other_numbers_are_rounded_towards_the_middle(T):
    """The mean number of spikes is not m / V: it is too large between whole numbers up to T / 2, too small above."""
    for k, part in itertools.product(range(T), range(1, 8)):
        x = k + Fraction(part, 8)
        excess = sum(sum(s) * p for s, p in chances(x, T).items()) - x
        assert abs(excess) < Fraction(1, 2)
        if 2 * k + 1 != T:
            assert (excess > 0) == (2 * k + 1 < T) and excess != 0


# permute


def test_permuted_trains():
    """Every unit's spikes are kept, their steps are all equally likely, and differ from unit to unit."""
    T, n = 4, 20_000
    currents = torch.full((T, 2, n), 0.375)  # one and a half, and a start of a half
    plain = IF(1.0, v_init=0.5).run(currents)
    shuffled = Permuted(torch.tensor(1.0), 0.0, torch.tensor(0.5), seed=5).run(currents)
    assert torch.equal(plain.sum(0), shuffled.sum(0)) and (plain.sum(0) == 2).all()
    trains = [tuple(s) for s in shuffled[:, 0].T.tolist()]
    chi = sum((trains.count(s) - n / 6) ** 2 / (n / 6) for s in set(trains))
    assert len(set(trains)) == 6 and chi <= 5 + 4 * math.sqrt(10)


@pytest.mark.parametrize("T", [1, 7, 8, 9, 20])
@pytest.mark.parametrize("unit", [(5,), (3, 4, 2)])
def test_orders_are_those_of_a_gather(T, unit):
    fired = torch.rand(T, 6, *unit, generator=torch.Generator().manual_seed(1)) < 0.4
    found = reorder(fired, orders(3, T, fired.shape[2:]))
    assert torch.equal(found, fired.gather(0, uniform_numbers(3, T, fired.shape[2:]).argsort(0).expand_as(fired)))
    assert T == 1 or not torch.equal(found, fired)


def test_only_the_timing_of_the_first_layer_changes():
    ann, images = exact()
    half = half_start(ann, images)
    for image in images.split(1):
        plain = simulate(half, image, 8, at=[4])
        shuffled = simulate(convert(ann, "permute", images, 8), image, 8, at=[4])
        assert torch.equal(plain.events[8]["a1"], shuffled.events[8]["a1"])
        assert not torch.equal(plain.events[4]["a1"], shuffled.events[4]["a1"])
        assert not torch.equal(plain.events[8]["a3"], shuffled.events[8]["a3"])
    assert shuffled.latency == {4: 4 + 24, 8: 8 + 24}


# all


@pytest.mark.parametrize("name", METHODS)
def test_batches_do_not_matter(name):
    ann, images = exact()
    snn = convert(ann, name, images, 5)
    results = [simulate(snn, images, 5, batch=batch) for batch in (None, 1, 4)]
    for result in results[1:]:
        torch.testing.assert_close(result.outputs[5], results[0].outputs[5])
        assert all(torch.equal(count, results[0].events[5][layer]) for layer, count in result.events[5].items())


@pytest.mark.parametrize("name", ["tpp", "permute"])
def test_layers_and_seeds_draw_apart(name):
    ann, images = exact()
    seeds = [n.seed for seed in (0, 1) for n in neurons(convert(ann, name, images, 4, seed=seed)).values()]
    assert len(set(seeds)) == 6
    assert [n.seed for n in neurons(convert(ann, name, images, 4)).values()] == seeds[:3]
