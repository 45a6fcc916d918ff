"""Methods that look at a first run before the one that is read."""

import copy

import pytest
import torch
from nets import dyadic, dyadic_images, one_thread, residual  # noqa: F401
from torch import nn

from ann2snn.baselines.cos import COSNeuron
from ann2snn.baselines.srp import SRPNeuron
from ann2snn.conversion.neurons import Neuron
from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import make
from ann2snn.simulation.simulate import simulate

THRESHOLDS = {"a1": 2.0, "a2": 4.0, "a3": 2.0}


@pytest.fixture
def net():
    """Of dyadic weights, and trained thresholds that are powers of 2: in float64 all currents are exact."""
    net = residual()
    for name in THRESHOLDS:
        setattr(net, name, make("qcfs:4")())
    net = dyadic(net).double()
    for name, y_th in THRESHOLDS.items():
        nn.init.constant_(getattr(net, name).y_th, y_th)
    return net


@pytest.fixture
def images():
    return dyadic_images(7).double()


def masked(v_th, warmup):
    v_th = torch.tensor(v_th, dtype=torch.double)
    return SRPNeuron(warmup, v_th, 0.0, v_th / 2)


def fired(neuron, currents):
    """The steps, counted from 0, in which a single neuron fires."""
    return neuron.run(torch.tensor(currents, dtype=torch.double)[:, None]).flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize(
    "first, mask",
    [
        ([1, 0, 0, -2], 0),  # 1.5 fires; it ends at -1.5
        ([1, 0, 0, -0.25], 1),  # at 0.25
        ([-0.5, 0, 0, 0], 0),  # at 0
        ([-0.5, 0, 0, 2**-9], 1),  # at 0.00195
        ([-0.5, 0, 0, 2**-10], 0),  # at 0.00098
        ([0, 0, 0, 0], 1),
        ([9, 9, -9, -9], 0),
    ],
)
@pytest.mark.parametrize("v_th", [1.0, 2.0])
def test_srp_masks_by_hand(first, mask, v_th):
    """Then from V / 2 again: 1, reset to 0; 0.5; 1.25, reset to 0.25; -0.75; 0.25."""
    second = [0.5, 0.5, 0.75, -1, 1]
    neuron = masked(v_th, 4)
    found = fired(neuron, [v_th * c for c in first + second])
    assert [t - 4 for t in found if t >= 4] == [0, 2] * mask
    assert [t for t in found if t < 4] == fired(masked(v_th, 0), [v_th * c for c in first])


@pytest.mark.parametrize(
    "train, start, before, after",
    [
        # lowered: 1.5 fires; 0.5, 0.5, -1.25. From -0.5: 0.5, 0.5, 0.5, -1.25
        ([1, 0, 0, -1.75], -0.5, [0], []),
        # by more than V: 2.5 fires; 0.5, 0.5, -0.5. From 0.5 - (2.5 - 0.999): 0.999, -0.001, ...
        ([2, -1, 0, -1], 0.5 - (2.5 - 0.999), [0], []),
        # by the lowest that fired: 3.5 fires, 2.5 fires; 0.5, -2.5. From 0.5 - 1.501: 1.999 fires; 0.999, -0.001, ...
        ([3, 0, -1, -3], 0.5 - (2.5 - 0.999), [0, 1], [0]),
        # raised: 0.5, 0.5, 0.75; 2.75 fires and leaves 1.75. From 1.5: 1.5 fires; 0.5, 0.75; 2.75 fires
        ([0, 0, 0.25, 2], 1.5, [3], [0, 3]),
        # by more than V: -0.5, -0.75, -0.5; 2.5 fires and leaves 1.5. From 0.5 + 1.501: 1.001 fires
        ([-1, -0.25, 0.25, 3], 0.5 + 1.001 + 0.5, [3], [0, 3]),
        # as it was: it fired in every step; it never fired; it ends in [0, V)
        ([2, 2, 2, 2], 0.5, [0, 1, 2, 3], [0, 1, 2, 3]),
        ([-1, 0, 0, 0], 0.5, [], []),
        ([0.5, 0, 0, 0.5], 0.5, [0], [0]),
    ],
)
@pytest.mark.parametrize("v_th", [1.0, 2.0])
def test_cos_starts_by_hand(train, start, before, after, v_th):
    neuron = COSNeuron(torch.tensor(v_th, dtype=torch.double), 0.0, 4, True)
    currents = torch.tensor(train, dtype=torch.double)[:, None] * v_th
    assert fired(masked(v_th, 0), currents.flatten().tolist()) == before
    found = neuron.start(currents, neuron.v_init.expand(1)) / v_th
    torch.testing.assert_close(found, torch.tensor([start], dtype=torch.double), rtol=0, atol=1e-12)
    ignored = [9, 9, 9, -9]  # what comes before the layer before it fires
    assert fired(neuron, ignored + currents.flatten().tolist()) == [4 + t for t in after]


# the naive loops: a network whose activations keep the membrane of every unit in units of V, as the papers write them


class Streaming(nn.Module):
    """SRP: one call a step."""

    def __init__(self, v_th, tau):
        super().__init__()
        self.v_th, self.tau, self.t = v_th, tau, 0

    def forward(self, x):
        z, out = (x / self.v_th).flatten().tolist(), []
        if self.t == 0:
            self.m, self.mask = [0.5] * len(z), [1] * len(z)
        self.t += 1
        for i, current in enumerate(z):
            self.m[i] += current
            spike = self.m[i] >= 1
            self.m[i] -= spike
            out.append(spike * self.mask[i])
        if self.t == self.tau:
            self.mask = [m > 1e-3 for m in self.m]
            self.m = [0.5] * len(z)
        return self.v_th * torch.tensor(out, dtype=torch.double).reshape(x.shape)


class Layered(nn.Module):
    """COS: one call for the whole train (T * B, ...), which is tried out from its first step on."""

    def __init__(self, v_th, rho, T):
        super().__init__()
        self.v_th, self.rho, self.T, self.starts = v_th, rho, T, []

    def forward(self, x):
        z = (x / self.v_th).reshape(self.T, -1)
        trains = [self.train_of(train) for train in z.T.tolist()]
        return self.v_th * torch.tensor(trains, dtype=torch.double).T.reshape(x.shape)

    def train_of(self, z):
        m, firing, silent = 0.5, [], []
        for current in z[: self.rho]:
            m += current
            if m >= 1:
                firing.append(m)
                m -= 1
            else:
                silent.append(m)
        start = 0.5
        if m < 0 and firing:
            start -= max(1, min(firing) - 0.999)
        elif m >= 1 and silent:
            start += max(1, 1.001 - max(silent))
        self.starts.append(start)
        m, out = start, []
        for current in z:
            m += current
            out.append(float(m >= 1))
            m -= m >= 1
        return out


def naive(net, make):
    net = copy.deepcopy(net)
    for name, v_th in THRESHOLDS.items():
        setattr(net, name, make(v_th))
    return net


@pytest.mark.parametrize("tau", [1, 4, 6])
def test_srp_equals_the_naive_loop(net, images, tau):
    """Bit for bit, at every step that is read."""
    T, loop = tau + 9, naive(net, lambda v_th: Streaming(v_th, tau))
    with torch.no_grad():
        steps = torch.stack([loop(images) for _ in range(T)])
    result = simulate(convert(prepare(net, images), "srp", images, warmup=tau), images, T, at=range(tau + 1, T))
    for t, found in result.outputs.items():
        assert torch.equal(found, steps[tau:t].sum(0))
    masks = [getattr(loop, name).mask for name in THRESHOLDS]
    assert all(0 < sum(mask) < len(mask) for mask in masks)
    assert set(result.latency.values()) == set(result.outputs)


@pytest.mark.parametrize("rho", [4, 6])
def test_cos_equals_the_naive_loop(net, images, rho):
    """Bit for bit, at every step that is read, though the naive trains have no steps of silence before."""
    T = rho + 9
    loop = naive(net, lambda v_th: Layered(v_th, rho, T - rho))
    with torch.no_grad():
        steps = loop(images.repeat(T - rho, 1, 1, 1)).unflatten(0, (T - rho, len(images)))
    result = simulate(convert(prepare(net, images), "cos", images, warmup=rho), images, T, at=range(rho + 1, T))
    for t, found in result.outputs.items():
        assert torch.equal(found, steps[: t - rho].sum(0))
    assert min(loop.a2.starts) < 0.5 < max(loop.a2.starts) and max(loop.a3.starts) > 0.5
    assert result.latency == {t: t + 2 * rho for t in result.outputs}  # three layers, of which the first waits for none


@pytest.mark.parametrize("method", ["srp", "cos"])
def test_no_batch_depends_on_another(net, images, method):
    """Whatever their size, also where the last is smaller; and a network that ran before runs as a fresh one."""
    ann = prepare(net, images)
    snn, fresh = (convert(ann, method, images) for _ in range(2))
    expected = simulate(snn, images, 12, at=[9])
    simulate(snn, -images[:3], 9)
    for batch, run in ((1, snn), (3, snn), (5, snn), (7, fresh)):
        found = simulate(run, images, 12, at=[9], batch=batch)
        for t in (9, 12):
            assert torch.equal(found.outputs[t], expected.outputs[t])
            assert all(torch.equal(count, expected.events[t][name]) for name, count in found.events[t].items())


@pytest.mark.parametrize("method", ["srp", "cos"])
def test_without_a_first_stage_they_start_at_half_the_threshold(net, images, method):
    plain = dyadic(residual()).double()
    for network, other in ((net, "qcfs"), (plain, "opi")):
        ann = prepare(network, images)
        found = simulate(convert(ann, method, images, warmup=0), images, 8)
        assert torch.equal(found.outputs[8], simulate(convert(ann, other, images), images, 8).outputs[8])
        assert not torch.equal(found.mean(8), simulate(convert(ann, method, images), images, 12).mean(12))


@pytest.mark.parametrize("method", ["srp", "cos"])
def test_thresholds_are_trained_or_largest_activations(net, images, method):
    """The trained one also where no activation reaches it; what a training shifted is taken back."""
    nn.init.constant_(net.a3.y_th, 64.0)
    net.a2 = make("threshold_relu:8:16")()
    ann = prepare(net, images)
    seen = {}
    activations(ann)["a2"].register_forward_hook(lambda module, inputs, out: seen.update(a2=out.max()))
    ann(images)
    neurons = {m.name: m for m in convert(ann, method, images).children() if isinstance(m, Neuron)}
    assert {name: m.v_th.item() for name, m in neurons.items()} == {"a1": 2, "a2": seen["a2"], "a3": 64}
    assert [m.shift.item() for m in neurons.values()] == [0, -0.25, 0]


def test_cos_has_to_try_out_before_it_is_read(net, images):
    snn = convert(prepare(net, images), "cos", images)
    with pytest.raises(UserError, match=r"calibrated on 4 steps of its input: run 8 steps or more .* read from 5 on"):
        simulate(snn, images, 7)
    assert list(simulate(snn, images, 8, at=[5]).outputs) == [5, 8]
