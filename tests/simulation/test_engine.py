"""The compiled library: every geometry and path through the plan against the oracle; and what happens without it."""

import math
import os
import pwd
import shlex
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from limits import LIMIT
from nets import Net, dyadic, dyadic_images, one_thread, random  # noqa: F401
from oracle import WAYS, compare, engine, oracle
from torch import nn

from ann2snn.baselines.accumulate_then_fire import AccumulateThenFire
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.neurons import IF, Neuron
from ann2snn.conversion.surgery import replace_activations
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.networks.registry import create
from ann2snn.simulation import c_build, c_library, plan, self_test
from ann2snn.simulation.analysis import Backend
from ann2snn.simulation.currents import CurrentSequence, LazyCurrent
from ann2snn.simulation.layers import NativeIFLayer, integrate, spike_train_of
from ann2snn.simulation.plan import Plan
from ann2snn.simulation.simulate import simulate
from ann2snn.simulation.spikes import Spikes
from ann2snn.simulation.synapses import synapses_for, to_channels_last
from ann2snn.training import checkpoints

CC = os.environ.get("CC") or "cc"
needs_library = pytest.mark.skipif(c_library.library() is None, reason="no C compiler")


@pytest.mark.skipif(shutil.which(shlex.split(CC)[0]) is None, reason="no C compiler")
def test_where_there_is_a_compiler_there_is_the_library():
    assert c_library.library() is not None


# every geometry of a layer


def shapes(net, images):
    """(C, H, W) of every activation that the network calls."""
    found = {}

    def keep(module, _, out):
        found[next(name for name, other in net.named_children() if other is module)] = out.shape[1:]

    hooks = [m.register_forward_hook(keep) for m in net.children() if isinstance(m, nn.ReLU | ThresholdReLU)]
    net(images)
    for hook in hooks:
        hook.remove()
    return found


def neurons(shapes, values, reset, seed):
    """Dyadic thresholds, shifts and starts: one for a "layer", or others in every "channel", "unit" or "column"."""
    generator = torch.Generator().manual_seed(seed)

    def draw(options, shape):
        size = {"layer": (), "channel": (shape[0], *[1] * (len(shape) - 1)), "unit": shape, "column": shape[-1:]}
        return torch.tensor(options)[torch.randint(len(options), size[values], generator=generator)]

    return {
        name: (
            draw([0.5, 1.0, 2.0, 4.0], shape),
            reset,
            draw([-0.125, 0.0, 0.25], shape),
            draw([-0.25, 0.0, 0.5], shape),
        )
        for name, shape in shapes.items()
    }


BETWEEN = {  # a neuron's spikes and the next layer
    "nothing": lambda x: x,
    "pool": lambda x: F.avg_pool2d(x, 2),
    "slice": lambda x: x[:, :, 1:, ::2],
    "channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "flatten": lambda x: x.flatten(1),
    "flat pool": lambda x: F.avg_pool2d(x, 2).flatten(1),
    "16 x 16": lambda x: F.avg_pool2d(x, 16),
    "4 x 4 of 4 x 4": lambda x: F.avg_pool2d(F.avg_pool2d(x, 4), 4),
    "15 x 17": lambda x: F.avg_pool2d(x, (15, 17), divisor_override=256),
}
WIDTHS = [1, 3, 15, 16, 17, 32, 33, 63, 64, 65, 130]  # channels: of vectors, tiles and masks, and around them


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def layers(draw):
    """A layer, the shape of its input before what lies between, and that."""
    between, width, out = draw(st.sampled_from(list(BETWEEN)[:5])), draw(channels), draw(channels)
    bias = draw(st.booleans())
    if between == "flatten":
        size = draw(pairs(1, 3))
        return nn.Linear(width * size[0] * size[1], out, bias), (width, *size), between
    kernel = draw(st.sampled_from([(1, 1), (3, 3)]) | pairs(1, 5))
    stride, dilation = (draw(st.just((1, 1)) | pairs(1, most)) for most in (3, 2))
    padding = draw(st.sampled_from([(0, 0), (1, 1)]) | pairs(0, 3))
    into = width + 3 * (between == "channels")
    some = next((g for g in (2, 3, 5) if into % g == 0), 1)
    groups, out = draw(st.sampled_from([(1, out), (1, out), (1, out), (into, into), (some, 2 * some)]))
    layer = nn.Conv2d(into, out, kernel, stride, padding, dilation, groups, bias)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)]
    size = [draw(st.integers(n, n + 4)) for n in least]
    size = {"pool": [2 * n for n in size], "slice": [size[0] + 1, 2 * size[1]]}.get(between, size)
    return layer, (width, *size), between


def around(layer, shape, between):
    """first convolution -> IF -> layer -> IF -> linear, on images (2, H, W)."""
    net = Net(
        lambda s, x: s.f(s.b(s.layer(BETWEEN[between](s.a(s.c(x))))).flatten(1)),
        c=nn.Conv2d(2, shape[0], 1),
        a=nn.ReLU(),
        layer=layer,
        b=nn.ReLU(),
        f=nn.Identity(),
    ).requires_grad_(False)
    net.f = nn.Linear(net(torch.zeros(1, 2, *shape[1:])).shape[1], 3)
    return net


channels = st.sampled_from(WIDTHS)
values = st.sampled_from(["channel", "layer", "unit", "column", "channel"])
resets = st.sampled_from(["soft", "hard"])


@settings(max_examples=50)
@given(layers(), values, resets, st.sampled_from([1, 4, 11]), st.integers(0, 1000))
def test_layers_equal_the_oracle(case, values, reset, T, seed):
    if isinstance(conv := case[0], nn.Conv2d):  # PyTorch's own, of one channel in this order, reads past its input
        assume(conv.in_channels > 1 or conv.stride[0] > 1 or conv.stride[1] == 1)
    net, images = dyadic(around(*case), seed), dyadic_images(5, (2, *case[1][1:]), seed)
    compare(net, images, T, neurons(shapes(net, images), values, reset, seed))


KINDS = {
    "1x1": lambda n, m: nn.Conv2d(n, m, 1),
    "3x3": lambda n, m: nn.Conv2d(n, m, 3, padding=1),
    "any": lambda n, m: nn.Conv2d(n, m, 3, 2, padding=1),
    "depthwise": lambda n, m: nn.Conv2d(n, n, 3, padding=1, groups=n),
    "behind a current": lambda n, m: nn.Sequential(nn.Conv2d(n, m, 3), nn.Conv2d(m, n, 1)),
    "linear": lambda n, m: nn.Linear(n, m),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", [False, True], ids=["spikes", "counts"])
def test_every_width_equals_the_oracle(kind, pool):
    size, between = (1, "flatten") if kind == "linear" else (3, "nothing")
    if pool:
        size, between = 2 * size, {"flatten": "flat pool", "nothing": "pool"}[between]
    for i, (into, out) in enumerate([(130, 3), (63, 16), (32, 17), (17, 32), (16, 33), (3, 130)]):
        net = dyadic(around(KINDS[kind](into, out), (into, size, size), between), i)
        images = dyadic_images(5, (2, size, size), i)
        compare(net, images, 9, neurons(shapes(net, images), "channel", "soft", i), ways=WAYS[:2])


@pytest.mark.parametrize(
    ("between", "size"), [("16 x 16", (16, 16)), ("4 x 4 of 4 x 4", (16, 16)), ("15 x 17", (15, 17))]
)
def test_sums_of_spikes_may_exceed_a_byte(between, size):
    net, images = dyadic(around(nn.Conv2d(3, 17, 1), (3, *size), between)), dyadic_images(5, (2, *size))
    always = (0.25, "soft", 4.0, 0.0)
    assert oracle(net, {"a": always}, images, 4)[1][-1]["a"].eq(4 * 5).all()
    compare(net, images, 9, {"a": always, "b": (1.0, "soft", 0.125, 0.0)})


# every path through the plan

PATHS = {
    "pool": lambda s, x: s.d(F.avg_pool2d(s.a(x), 2)),
    "pool of nine": lambda s, x: s.d(F.avg_pool2d(s.a(x), 3, divisor_override=8)),
    "pool of pool": lambda s, x: s.d(F.avg_pool2d(F.avg_pool2d(s.a(x), 2), (3, 2), divisor_override=4)),
    "overlapping pool": lambda s, x: s.d(F.avg_pool2d(s.a(x), 2, 1)),
    "pool with a rest": lambda s, x: s.d(F.avg_pool2d(s.a(x), 4)),
    "pool with an edge": lambda s, x: s.d(F.avg_pool2d(s.a(x), 4, ceil_mode=True)),
    "padded pool": lambda s, x: s.d(F.avg_pool2d(s.a(x), 2, 2, 1)),
    "padded pool without the padding": lambda s, x: s.d(F.avg_pool2d(s.a(x), 2, 2, 1, count_include_pad=False)),
    "pool of a current": lambda s, x: F.avg_pool2d(s.d(s.a(x)), 2),
    "max-pool": lambda s, x: (lambda y: s.d(s.p(y)) + s.h(y))(s.a(x)),
    "slice of channels": lambda s, x: s.d(F.pad(s.a(x)[:, 1:18], (0, 0, 0, 0, 1, 1))),
    "padded places": lambda s, x: s.d(F.pad(s.a(x), (1, 2, 0, 1))),
    "cropped": lambda s, x: s.d(F.pad(s.a(x), (-1, 0, 0, -2))),
    "padded with ones": lambda s, x: s.d(F.pad(s.a(x), (1, 1, 1, 1), value=1.0)),
    "concatenated": lambda s, x: s.d(torch.cat([s.a(x)[:, :9], x[:, :10]], 1)),
    "residual spikes": lambda s, x: (lambda y: s.d(y) + y)(s.a(x)),
    "residual spikes first": lambda s, x: (lambda y: y + s.d(y))(s.a(x)),
    "residual pool": lambda s, x: (lambda y: s.h(y) + F.avg_pool2d(y, 2))(s.a(x)),
    "residual of more channels": lambda s, x: (lambda y: s.w(y) + F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))(s.a(x)),
    "residual projection": lambda s, x: (lambda y: s.d(y) + s.e(y))(s.a(x)),
    "residual of a convolution of PyTorch": lambda s, x: (lambda y: s.u(y) + s.d(y))(s.a(x)),
    "residual of the first current": lambda s, x: x + s.d(s.a(x)),
    "residual of a max-pool": lambda s, x: (lambda y: s.p(y) + s.h(y))(s.a(x)),
    "twice the same": lambda s, x: (lambda y: y + y)(s.d(s.a(x))),
    "spikes and spikes": lambda s, x: s.a(x) + s.a2(s.e(x)),
    "spikes and the first current": lambda s, x: s.a(x) + x,
    "scaled sum": lambda s, x: torch.add(s.d(s.a(x)), x, alpha=2),
    "sum of three": lambda s, x: (lambda y: s.d(y) + s.e(y) + y)(s.a(x)),
    "sum over channels": lambda s, x: (lambda y: s.d(y) + s.n(y))(s.a(x)),
    "sum with a number": lambda s, x: s.d(s.a(x)) + 0.5,
    "sum with an image": lambda s, x: s.d(s.a(x)) + s.image,
    "sum with a batch of one": lambda s, x: s.d(s.a(x)) + s.image[None],
    "sum with channels": lambda s, x: s.d(s.a(x)) + s.image[:, :1, :1],
    "two readers of a neuron": lambda s, x: (lambda y: s.d(s.a2(s.e(y))) + s.e(s.a3(s.d(y))))(s.a(x)),
    "two readers of a current": lambda s, x: (lambda y: s.d(s.a2(y)) + y)(s.e(s.a(x))),
    "two readers of a sum": lambda s, x: (lambda y: s.a2(y) + y)((lambda y: y + s.e(y))(s.a(x))),
    "bottleneck": lambda s, x: s.v(s.a2(s.m(s.a3(s.k(s.n(s.a(x))))))),
    "bottleneck residual": lambda s, x: (lambda y: s.v(s.a2(s.m(s.a3(s.k(y))))) + y)(s.n(s.a(x))),
    "neuron behind a neuron": lambda s, x: s.a2(s.a(x)),
    "neuron behind a pool": lambda s, x: s.a2(F.avg_pool2d(s.a(x), 2)),
    "flattened": lambda s, x: s.l(s.a(x).flatten(1)),
    "flattened pool": lambda s, x: s.l2(F.avg_pool2d(s.a(x), 2).flatten(1)),
    "flattened current": lambda s, x: s.l(s.a2(s.d(s.a(x)).flatten(1))),
    "three dimensions": lambda s, x: s.l3(s.a2(s.d(s.a(x)).flatten(2))),
    "mean": lambda s, x: F.adaptive_avg_pool2d(s.a(x)[:, :, :4, :4], 1),
}


def path(name):
    net = Net(
        lambda s, x: s.f(s.b(PATHS[name](s, s.c(x))).flatten(1)),
        c=nn.Conv2d(2, 19, 3, padding=1),  # a vector and a rest
        d=nn.Conv2d(19, 19, 3, padding=1),
        e=nn.Conv2d(19, 19, 1, bias=False),
        h=nn.Conv2d(19, 19, 3, 2, padding=1),
        w=nn.Conv2d(19, 21, 3, 2, padding=1),
        u=nn.Conv2d(19, 19, 3, padding="same"),
        n=nn.Conv2d(19, 1, 1),
        k=nn.Conv2d(1, 40, 1),
        m=nn.Conv2d(40, 40, 3, padding=1, groups=40),
        v=nn.Conv2d(40, 19, 1),
        l=nn.Linear(19 * 6 * 8, 65),
        l2=nn.Linear(19 * 3 * 4, 19),
        l3=nn.Linear(6 * 8, 7),
        p=nn.MaxPool2d(2),
        **{name: nn.ReLU() for name in ("a", "a3", "b")},
        a2=ThresholdReLU(math.inf),  # a plain ReLU behind another one is folded
        f=nn.Identity(),
    )
    net.image = nn.Parameter(torch.zeros(19, 6, 8))
    net.requires_grad_(False)
    net.f = nn.Linear(net(torch.zeros(1, 2, 6, 8)).shape[1], 3)
    return dyadic(net)


@pytest.mark.parametrize("name", PATHS)
def test_paths_equal_the_oracle(name):
    net, images = path(name), dyadic_images(5, (2, 6, 8))
    ann, found = prepare(net, images), shapes(net, images)
    for seed, (values, reset) in enumerate([("channel", "soft"), ("layer", "hard"), ("unit", "soft")]):
        compare(net, images, 11, neurons(found, values, reset, seed), ann)


OWN = ("srp", "cos", "accumulate_then_fire", "da_qcfs", "tpp", "permute")  # methods with neurons of their own


@needs_library
@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("name", ["residual of more channels", "bottleneck residual", "max-pool", "flattened current"])
def test_neurons_of_methods_fire_the_same_with_the_library_and_without(name, method):
    net, images = path(name), dyadic_images(5, (2, 6, 8))
    snn = convert(prepare(net, images), method, images, 12)
    for module in snn.modules():
        if isinstance(module, Neuron):  # dyadic: then no sum is rounded
            for value in module.buffers():
                value.copy_((64 * value).round() / 64)
    with engine(compiled=False):
        expected = simulate(snn, images, 12, at=[9])
        assert not Plan(snn).native_candidates
    for block, batch in ((8, 5), (3, 2), (1, 5)):
        with engine(block=block):
            found = simulate(snn, images, 12, at=[9], batch=batch)
            assert Plan(snn).native_candidates
        for t in (9, 12):
            assert torch.equal(found.outputs[t], expected.outputs[t])
            assert all(torch.equal(count, expected.events[t][layer]) for layer, count in found.events[t].items())
            assert min(found.spikes(t).values()) > 0


@needs_library
@pytest.mark.parametrize("still", [False, True])
def test_a_train_of_currents_is_the_sum_of_its_parts_at_every_step(still):
    """Spikes through synapses, and a current beside them that differs from step to step or stays."""
    T, B, generator = 5, 2, torch.Generator().manual_seed(0)
    conv = dyadic(nn.Conv2d(3, 4, 3, padding=1))
    spikes = Spikes(
        to_channels_last(torch.randint(2, (T * B, 3, 6, 7), generator=generator, dtype=torch.uint8)), torch.tensor(0.5)
    )
    beside = to_channels_last(torch.randint(-8, 8, (B if still else T * B, 4, 6, 7), generator=generator) / 4)
    steps = (conv(spikes.dense) + (beside.repeat(T, 1, 1, 1) if still else beside)).unflatten(0, (T, B))
    train = CurrentSequence((LazyCurrent(synapses_for(conv, spikes), spikes), beside), T, B)
    for first, end in ((0, T), (2, T), (1, 3), (T, T), (3, 4)):
        some = train[first:end]
        assert some.shape == steps[first:end].shape and len(list(some)) == len(some) == end - first
        assert all(torch.equal(a, b) for a, b in zip(some, steps[first:end], strict=True))
    neuron = AccumulateThenFire(torch.tensor(1.0), 0.25, torch.tensor(0.5))
    assert torch.equal(integrate(neuron, train), neuron.integrate(steps))
    assert torch.equal(integrate(neuron, steps), neuron.integrate(steps))
    assert torch.equal(spike_train_of(IF(1.0), train[1:]), IF(1.0).run(steps[1:]) != 0)


def test_long_trains_are_counted_to_their_end():
    net = dyadic(Net(lambda s, x: s.a(s.c(x)).flatten(1), c=nn.Conv2d(2, 1, 1), a=nn.ReLU()))
    images = dyadic_images(2, (2, 1, 1))
    snn = replace_activations(
        prepare(net, images), lambda _: AccumulateThenFire(torch.tensor(1.0), 64.0, torch.tensor(0.5))
    )
    found = simulate(snn, images, 600, at=[300])
    assert [sum(found.spikes(t).values()) for t in (300, 600)] == [600, 1200]


def test_a_long_run_is_counted_to_its_end():
    net = dyadic(Net(lambda s, x: s.a(s.c(x)).flatten(1), c=nn.Conv2d(2, 1, 1), a=nn.ReLU()))
    images = dyadic_images(2, (2, 1, 1))
    snn = replace_activations(prepare(net, images), lambda _: IF(1.0, shift=64.0))
    T = 2**15 - 1
    with engine(block=2**12):
        assert simulate(snn, images, T).events[T]["a"].tolist() == [[[2 * T]]]
    with pytest.raises(UserError, match="T = 32768 is too long: at most 32,767 steps"):
        simulate(snn, images, T + 1)


# weights that are not dyadic


def separable():
    """Inverted residual blocks: a convolution, then twice 1x1 to more channels, depthwise, 1x1 to fewer."""

    def blocks(s, x):
        x = s.e1(s.a(s.c(x)))
        x = x + s.p1(s.a2(s.d1(s.a1(x))))
        x = s.p2(s.a4(s.d2(s.a3(s.e2(x)))))
        return s.f(s.a5(x).flatten(1))

    net = Net(
        blocks,
        c=nn.Conv2d(2, 8, 3, padding=1),
        e1=nn.Conv2d(8, 40, 1),
        d1=nn.Conv2d(40, 40, 3, padding=1, groups=40),
        p1=nn.Conv2d(40, 40, 1),
        e2=nn.Conv2d(40, 48, 1),
        d2=nn.Conv2d(48, 48, 3, 2, padding=1, groups=48),
        p2=nn.Conv2d(48, 20, 3, 2, padding=1),
        f=nn.Linear(20 * 4, 3),
        **{name: nn.ReLU() for name in ("a", "a1", "a2", "a3", "a4", "a5")},
    )
    return random(net), torch.randn(8, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def trained():
    file = next((Path(__file__).parents[2] / "results/weights/digits").glob("digits_residual-relu-seed0-*.pt"))
    return checkpoints.load_source(file)[0], next(iter(load("digits").test.batches(20)))[0]


def resnet20():
    """With statistics of batch norm as after training."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net, images = create("cifar_resnet20", num_classes=10, in_chans=3), torch.randn(4, 3, 32, 32)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(images)
    return net.eval(), images


@needs_library
@pytest.mark.parametrize("source", [separable, trained, resnet20], ids=lambda source: source.__name__)
def test_every_spike_far_from_the_threshold_is_the_oracles(source, monkeypatch):
    """Layer by layer: every step starts from the oracle's membrane and hears the oracle's spikes."""
    net, images = source()
    ann = prepare(net, images)
    stats = Statistics(ann, lambda: [images])

    def neuron(activation):
        v = stats[activation.name].channel_max / 2
        v = torch.where(v > 0, v, v.max())
        return IF(v, v_init=v / 2)

    snn = replace_activations(ann, neuron)
    found = {key: m for key, m in snn.named_children() if isinstance(m, IF)}
    values = {key: (m.v_th.double(), "soft", m.shift.double(), m.v_init.double()) for key, m in found.items()}
    truth = {found[key].name: spiking.trace for key, spiking in oracle(snn, values, images, 8)[2].items()}
    near, spikes, everything = 0, 0, 0

    class Guided(NativeIFLayer):
        def run(self, current, residual, segments, reads):
            nonlocal near, spikes, everything
            before, m, fired = truth[self.neuron.name].pop(0)
            self.membrane.copy_(before)
            out, events = super().run(current, residual, segments, reads)
            v_th = self.neuron.v_th
            close = (m - v_th).abs() <= 1e-5 * v_th
            assert torch.equal(out.counts[~close], fired[~close]), self.neuron.name
            near, spikes, everything = near + int(close.sum()), spikes + int(fired.sum()), everything + fired.numel()
            return Spikes(fired.byte(), v_th), events

    monkeypatch.setattr(plan, "NativeIFLayer", Guided)
    with engine(block=1):
        simulate(snn, images, 8, batch=len(images))
    assert not any(truth.values())
    print(f"{source.__name__}: {near} of {everything} excluded, {spikes} spikes")
    assert near < 1e-4 * everything and 0.02 * everything < spikes < 0.5 * everything


@needs_library
def test_compiled_layers_depend_on_no_batch_block_or_threads():
    net, images = separable()
    with torch.no_grad():  # the first convolution is PyTorch's, exact on dyadic values alone
        dyadic(net.c)
    images = dyadic_images(8, (2, 8, 8))
    ann = prepare(net, images)
    snn = convert(ann, "opi", images)
    assert len(Plan(snn).layers_on(Backend.NATIVE)) == 6
    with engine(block=1):
        expected = simulate(snn, images, 11, at=range(1, 11), batch=1)
    for batch, block, threads, at in [(8, 8, 1, [3]), (5, 8, 2, [7]), (2, 3, 3, []), (3, 11, 1, [4, 5])]:
        with engine(block=block, threads=threads):
            found = simulate(snn, images, 11, at=at, batch=batch)
        for t in (*at, 11):
            assert torch.equal(found.outputs[t], expected.outputs[t])
            assert all(torch.equal(count, expected.events[t][name]) for name, count in found.events[t].items())


BY_LIBRARY = {  # a layer, and the thresholds before it: whether `layer.c` computes it
    "conv": (nn.Conv2d(4, 5, 3), "channel", True),
    "strided": (nn.Conv2d(4, 5, (3, 2), 2, (1, 0), 2), "layer", True),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), "channel", True),
    "grouped": (nn.Conv2d(4, 4, 3, groups=2), "channel", False),
    "several for a channel": (nn.Conv2d(4, 8, 3, groups=4), "channel", False),
    "by unit": (nn.Conv2d(4, 5, 3), "unit", False),
    "by column": (nn.Conv2d(4, 5, 3), "column", False),
    "linear by unit": (nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "unit", True),
    "as large as before": (nn.Conv2d(4, 5, 3, padding="same"), "channel", False),
    "around the edge": (nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular"), "channel", False),
}


@needs_library
@pytest.mark.parametrize("name", BY_LIBRARY)
def test_what_the_library_computes(name):
    layer, kind, by_library = BY_LIBRARY[name]
    net, images = dyadic(around(layer, (4, 4, 4), "nothing")), dyadic_images(2)
    values = neurons(shapes(net, images), kind, "soft", 0)
    compare(net, images, 4, values, ways=WAYS[:1])
    snn = replace_activations(prepare(net, images), lambda a: IF(values[a.name][0]))
    run = Plan(snn)
    list(run.run(images, [1], 8))
    made = {run.nodes[node].module.name: synapses is not None for node, synapses in run.synapses.items()}
    assert next(iter(made.values())) is by_library


# without a compiler, without a folder, without memory


def small():
    net, images = path("residual spikes"), dyadic_images(5, (2, 6, 8))
    return net, images, neurons(shapes(net, images), "channel", "soft", 0)


def small_snn():
    net, images, values = small()
    return replace_activations(prepare(net, images), lambda activation: IF(values[activation.name][0])), images


def script(folder, lines):
    file = folder / "compiler"
    file.write_text('[ "$1" = --version ] && exec echo 1.0\nfor target; do :; done\n' + lines)
    return f"sh {file}"


COMPILERS = {
    "missing": lambda folder: "/nonexistent/cc",
    "silent": lambda folder: "false",
    "failing": lambda folder: script(folder, "echo no such flag >&2; exit 1"),
    "stopped halfway": lambda folder: script(folder, "echo half > $target; exit 1"),
    "lying": lambda folder: script(folder, "echo nonsense > $target"),
    "no command": lambda folder: "no such thing",
    "an empty command": lambda folder: "''",
    "unbalanced": lambda folder: 'cc "-O3',
    "not of UTF-8": lambda folder: script(folder, "printf '\\377 no such flag' >&2; exit 1"),
    "no letters": lambda folder: "\udcff",
    "reading": lambda folder: script(folder, "cat; exit 1"),
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_without_a_working_compiler_there_is_one_line_and_equal_results(compiler, fresh, monkeypatch, capsys):
    monkeypatch.setenv("CC", COMPILERS[compiler](fresh))
    net, images, values = small()
    compare(net, images, 9, values)
    err = capsys.readouterr().err
    assert c_library.library() is None and err.count("\n") == 1
    assert err.startswith("ann2snn: layer.c cannot be compiled (") and "PyTorch does the same, slower." in err
    assert ("no such flag" in err) == (compiler in ("failing", "not of UTF-8"))
    assert not list(fresh.rglob("*.so*"))


@needs_library
@pytest.mark.parametrize(
    ("name", "value"), [("FLAGS", ["-O1", "-fPIC"]), ("openmp", lambda: None)], ids=["plain processor", "no OpenMP"]
)
def test_machines_without_something_compute_the_same(name, value, fresh, monkeypatch):
    monkeypatch.setattr(c_build, name, value)
    for name in ("residual pool", "bottleneck", "flattened pool"):
        net, images = path(name), dyadic_images(5, (2, 6, 8))
        compare(net, images, 9, neurons(shapes(net, images), "channel", "soft", 0), ways=WAYS[:2])
    for width in (17, 64, 130):
        net, images = dyadic(around(nn.Conv2d(width, 5, 3), (width, 3, 3), "nothing")), dyadic_images(5, (2, 3, 3))
        compare(net, images, 9, neurons(shapes(net, images), "channel", "hard", 0), ways=WAYS[:2])
    assert len(list((fresh / "ann2snn").iterdir())) == 1


@needs_library
def test_the_library_is_compiled_once(fresh, monkeypatch):
    assert c_library.library() is not None
    (file,) = (fresh / "ann2snn").iterdir()
    made = file.stat().st_mtime_ns
    c_library.default_library.cache_clear()
    monkeypatch.setattr(c_build, "_build", lambda *_: pytest.fail("compiled again"))
    assert c_library.library() is not None and file.stat().st_mtime_ns == made


@needs_library
@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied"), OSError(30, "read-only"), NotADirectoryError(20, "no")]
)
def test_without_a_cache_folder_it_is_compiled_for_the_process(error, fresh, monkeypatch, capsys):
    make = Path.mkdir

    def mkdir(self, *arguments, **keywords):
        if self == fresh / "ann2snn":
            raise error
        make(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(tempfile, "tempdir", str(fresh))
    net, images, values = small()
    compare(net, images, 9, values)
    assert c_library.library() is not None and not capsys.readouterr().err


@needs_library
def test_without_a_home_it_is_compiled_for_the_process(fresh, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.setattr(tempfile, "tempdir", str(fresh))
    assert c_library.library() is not None and not list(fresh.rglob("*.so"))


@needs_library
def test_random_state_and_defaults_of_the_caller_do_not_matter(fresh):
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            assert c_library.library() is not None
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


@needs_library
def test_what_cannot_be_loaded_is_not_kept(fresh, monkeypatch, capsys):
    fake = fresh / "cc"
    fake.write_text('#!/bin/sh\nfor target; do :; done\n[ "$1" = --version ] || echo garbage > "$target"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    monkeypatch.setattr(tempfile, "tempdir", str(fresh))
    assert c_library.library() is None and "PyTorch does the same" in capsys.readouterr().err
    assert not list(fresh.rglob("*.so"))


@needs_library
def test_other_arguments_of_the_compiler_are_another_library(fresh, monkeypatch):
    names = []
    for compiler in (CC, f"{CC} -DOTHER"):
        monkeypatch.setenv("CC", compiler)
        c_library.default_library.cache_clear()
        names.append(c_library.library()._name)
    assert names[0] != names[1]


@needs_library
def test_two_may_compile_at_once(fresh, monkeypatch):
    build, both = c_build._build, threading.Barrier(2)

    def together(compiler, flags, target):
        both.wait(LIMIT)
        build(compiler, flags, target)
        both.wait(LIMIT)

    monkeypatch.setattr(c_build, "_build", together)
    with ThreadPoolExecutor() as pool:
        arguments = shlex.split(CC), c_build.FLAGS, self_test.passes
        files = {Path(x._name) for x in pool.map(lambda _: c_build.load(*arguments), range(2))}
    assert files == set((fresh / "ann2snn").iterdir()) and len(files) == 1


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
]


def limited(monkeypatch, most, error):
    """Batches of more than `most` images fail at their second step."""
    run = Plan.run

    def scarce(self, images, at, block):
        for t, *read in run(self, images, at, block):
            if t > 1 and len(images) > most:
                raise error
            yield t, *read

    monkeypatch.setattr(Plan, "run", scarce)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["GPU", "CPU"])
def test_out_of_memory_halves_the_batch(error, monkeypatch, capsys):
    snn, images = small_snn()
    whole = simulate(snn, images, 6, at=range(1, 6), batch=4)
    limited(monkeypatch, 2, error)
    found = simulate(snn, images, 6, at=range(1, 6), batch=4)
    assert capsys.readouterr().err == "ann2snn: 4 images do not fit into memory; continuing with 2.\n"
    for t in range(1, 7):
        assert torch.equal(found.outputs[t], whole.outputs[t])
        assert all(torch.equal(count, whole.events[t][name]) for name, count in found.events[t].items())


def test_one_image_that_does_not_fit_and_other_errors_are_raised(monkeypatch):
    snn, images = small_snn()
    for most, error in [(0, OUT_OF_MEMORY[0]), (0, OUT_OF_MEMORY[1]), (2, RuntimeError("something else"))]:
        with monkeypatch.context() as patch, pytest.raises(RuntimeError) as raised:
            limited(patch, most, error)
            simulate(snn, images, 2, at=[1], batch=4)
        assert raised.value is error


@needs_library
def test_the_library_may_run_out_of_memory(monkeypatch, capsys):
    snn, images = small_snn()
    monkeypatch.setattr(c_library, "library", lambda: SimpleNamespace(run=lambda layer: 1))
    with pytest.raises(torch.OutOfMemoryError, match="the sums of a layer do not fit into memory"):
        simulate(snn, images, 2, batch=4)
    assert capsys.readouterr().err.count("do not fit into memory; continuing with") == 2
