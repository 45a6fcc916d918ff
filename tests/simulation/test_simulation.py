import copy
import gc
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Net, dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from oracle import TWO_THREADS, WAYS, compare, engine
from torch import nn

from ann2snn.conversion.neurons import IF
from ann2snn.errors import UserError
from ann2snn.graph.modules import MaxPool
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.simulation import c_library
from ann2snn.simulation.analysis import Backend
from ann2snn.simulation.layers import NativeIFLayer
from ann2snn.simulation.plan import Plan
from ann2snn.simulation.result import Result
from ann2snn.simulation.simulate import simulate

needs_library = pytest.mark.skipif(c_library.library() is None, reason="no C compiler")


class Blocks(nn.Module):
    """Blocks on images (2, 4, 4), then a linear layer to 3 classes; `steps`: pools before activations, as over time."""

    def __init__(self, kinds):
        super().__init__()
        self.kinds, self.steps = kinds, False
        width, size = 2, 4
        for i, kind in enumerate(kinds):
            if kind == "avg":
                size //= 2
                continue
            out = width if kind == "residual" else 3
            self.add_module(f"c{i}", nn.Conv2d(width, out, 3, padding=1, bias=i % 2 == 0))
            self.add_module(f"a{i}", nn.ReLU())
            if kind == "bypass":
                self.add_module(f"k{i}", nn.Conv2d(2, out, 1))
            if kind in ("max", "max after", "max and mean"):
                size //= 2
                self.add_module(f"p{i}", nn.MaxPool2d(2))
            width = out
        self.f = nn.Linear(width * size * size, 3)

    def forward(self, image):
        x = image
        for i, kind in enumerate(self.kinds):
            c, a, p, k = (getattr(self, f"{letter}{i}", None) for letter in "capk")
            match kind:
                case "conv":
                    x = a(c(x))
                case "residual":
                    x = a(c(x) + x)
                case "bypass":
                    x = a(c(x) + k(F.avg_pool2d(image, image.shape[2] // x.shape[2])))
                case "avg":
                    x = F.avg_pool2d(x, 2)
                case "max":
                    x = a(p(c(x)))
                case "max after":
                    x = a(p(c(x))) if self.steps else p(a(c(x)))
                case "max and mean":
                    x = a(c(x))
                    x = p(x) + F.avg_pool2d(x, 2)
        return self.f(x.flatten(1))


kinds = st.lists(
    st.sampled_from(["conv", "residual", "bypass", "avg", "max", "max after", "max and mean"]), min_size=1, max_size=4
)


@settings(max_examples=30)
@given(
    kinds.filter(lambda k: sum(b not in ("conv", "residual", "bypass") for b in k) <= 2 and set(k) != {"avg"}),
    st.integers(0, 1000),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from(["soft", "hard"]),
    st.data(),
)
def test_simulation_equals_the_oracle(kinds, seed, T, reset, data):
    net = dyadic(Blocks(kinds), seed)
    neurons = {}
    for name, module in net.named_children():
        if isinstance(module, nn.ReLU):
            v = data.draw(st.sampled_from([0.5, 1.0, 2.0, 4.0]))
            shift, start = data.draw(st.sampled_from([(0.0, 0.0), (v / (2 * T), 0.0), (0.0, v / 2)]))
            neurons[name] = (v, reset, shift, start)
    compare(net, dyadic_images(5, seed=seed), T, neurons)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(
    "kinds",
    [
        ["residual", "avg", "conv"],
        ["conv", "bypass", "max after"],
        ["max", "bypass", "max and mean"],
        ["avg", "bypass", "residual", "conv"],
    ],
    ids=" ".join,
)
def test_named_networks_equal_the_oracle(kinds, reset):
    net = dyadic(Blocks(kinds), 5)
    names = [name for name, module in net.named_children() if isinstance(module, nn.ReLU)]
    values = {name: (2.0, reset, 1 / 8, 0.0) for name in names}
    compare(net, dyadic_images(5), 11, values, ways=WAYS + TWO_THREADS)


@pytest.fixture(scope="module")
def images():
    return torch.randn(7, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ann(images):
    return prepare(random(residual()), images)


@pytest.fixture(scope="module")
def snn(ann, images):
    return convert(ann, "max_norm", images)


def same(a, b):
    return all(torch.equal(a.outputs[t], b.outputs[t]) for t in a.outputs) and a.outputs.keys() == b.outputs.keys()


def test_nothing_is_left_behind(snn, images):
    kept, state = images.clone(), copy.deepcopy(snn.state_dict())
    first = simulate(snn, images, 6, batch=4)
    simulate(snn, images[:3], 5)
    assert same(first, simulate(snn, images, 6, batch=4))
    assert torch.equal(images, kept)
    assert all(torch.equal(value, state[name]) for name, value in snn.state_dict().items())


def test_two_networks_do_not_meet(ann, images):
    a, b = convert(ann, "max_norm", images), convert(ann, "opi", images)
    alone = simulate(b, images, 5)
    simulate(a, images, 5)
    assert same(simulate(b, images, 5), alone)


def test_images_may_come_in_batches(snn, images):
    whole = simulate(snn, images, 4, batch=3)
    for batches in (images.split(3), (part for part in images.split(3)), [images[:0], *images.split(3)]):
        assert same(simulate(snn, batches, 4), whole)


@pytest.mark.parametrize("method", ["max_norm", "robust_norm", "opi"])
def test_a_prefix_is_the_run_of_that_length(method, ann, images):
    snn = convert(ann, method, images)
    long = simulate(snn, images, 16, at=[1, 5])
    assert list(long.outputs) == list(long.events) == [1, 5, 16]
    for t in (1, 5):
        short = simulate(snn, images, t)
        assert torch.equal(long.outputs[t], short.outputs[t]) and long.spikes(t) == short.spikes(t)


def test_network_for_one_T_refuses_other_T(ann, images):
    snn = convert(ann, "optimal", images, T=6)
    assert same(simulate(snn, images), simulate(snn, images, 6)) and list(simulate(snn, images).outputs) == [6]
    assert sorted(simulate(snn, images, at=[2]).outputs) == [2, 6]
    with pytest.raises(UserError, match="was converted for T = 6: convert it again for T = 4"):
        simulate(snn, images, 4)


@pytest.mark.parametrize("T", [None, 0, -1, True, 2.0, "3"])
def test_wrong_T(T, snn, images):
    with pytest.raises(UserError, match="How many steps" if T is None else "T is a number of steps"):
        simulate(snn, images, T)


@pytest.mark.parametrize("at", [[0], [5], [-1, 3]])
def test_wrong_at(at, snn, images):
    with pytest.raises(UserError, match="can be read at the steps 1 to T = 4"):
        simulate(snn, images, 4, at=at)


@pytest.mark.parametrize("none", [[], torch.zeros(0, 2, 4, 4)], ids=["no batch", "no image"])
def test_no_images(none, snn):
    with pytest.raises(UserError, match="no images to simulate"):
        simulate(snn, none, 4)


def test_calling_the_network_is_refused(snn, images):
    with pytest.raises(UserError, match=r"call simulate\(snn, images, T\) instead"):
        snn(images)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])
def test_what_lies_before_the_first_neuron_runs_once(compiled, snn, images):
    seen, hooks = {"c1": 0, "c2": 0, "c3": 0}, []

    def count(module, inputs, _):
        seen[module.name] += len(inputs[0])

    for layer in (snn.c1, snn.c2, snn.c3):
        hooks.append(layer.register_forward_hook(count))
    with engine(compiled=compiled):
        by_library = bool(Plan(snn).layers_on(Backend.NATIVE))
        simulate(snn, images, 5, batch=4)
    for hook in hooks:
        hook.remove()
    assert seen == {"c1": 7, "c2": 0 if by_library else 7 * 5, "c3": 7}


def test_spikes_are_binary_times_the_threshold(ann, images, monkeypatch):
    snn = convert(ann, "optimal", images, T=9)
    seen = {}
    step = IF.step

    def watched(self, m, current):
        m, out = step(self, m, current)
        seen.setdefault(self.name, []).append(out)
        return m, out

    monkeypatch.setattr(IF, "step", watched)
    with engine(compiled=False):
        result = simulate(snn, images, batch=7)
    assert list(seen) == ["a1", "a2", "a3"]
    for name, trains in seen.items():
        values = torch.stack(trains)
        assert len(trains) == 9 and values.unique().tolist() == [0, getattr(snn, name).v_th.item()]
        assert result.spikes(9)[name] == (values > 0).sum()
        assert torch.equal(result.events[9][name], (values > 0).sum((0, 1)))


@needs_library
def test_compiled_spikes_are_binary_and_equal_the_threshold(ann, images, monkeypatch):
    snn = convert(ann, "optimal", images, T=9)
    seen = {}
    run = NativeIFLayer.run

    def watched(self, *arguments):
        spikes, events = run(self, *arguments)
        seen.setdefault(self.neuron.name, []).append(spikes)
        return spikes, events

    monkeypatch.setattr(NativeIFLayer, "run", watched)
    result = simulate(snn, images, batch=7)
    assert list(seen) == ["a1", "a2", "a3"]
    for name, blocks in seen.items():
        counts = torch.cat([spikes.counts for spikes in blocks])
        assert counts.unique().tolist() == [0, 1] and len(counts) == 9 * 7
        assert all(spikes.amplitude is getattr(snn, name).v_th and spikes.max_count == 1 for spikes in blocks)
        assert torch.equal(result.events[9][name], counts.sum(0))


@pytest.mark.parametrize(
    ("kind", "method"),
    [(IF, "step"), pytest.param(NativeIFLayer, "run", marks=needs_library)],
    ids=["eager", "compiled"],
)
def test_memory_does_not_grow_with_T(kind, method, snn, images, monkeypatch):
    alive = []
    unwatched = getattr(kind, method)

    def watched(self, *arguments):
        if getattr(self, "neuron", self).name == "a3":
            tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
            alive.append((len(tensors), sum(tensor.nbytes for tensor in tensors)))
        return unwatched(self, *arguments)

    monkeypatch.setattr(kind, method, watched)
    gc.collect()
    with engine(compiled=kind is NativeIFLayer, block=2):
        simulate(snn, images, 24, batch=7)
    steps = 1 if kind is IF else 2
    assert len(alive) == 24 // steps
    steady = alive[2 : -2 // steps]  # in the last block the events are read
    assert max(steady) == max(steady[:2])  # the two steps of a block differ


class PerStep(MaxPool):
    """The rule that does not converge: the maximum of every step's spikes."""

    def step(self, state, current):
        return state, self(current)


def pooled(pool, shared=False):
    """A pool behind an activation that nobody else sees, or that a second branch sees too."""
    return random(
        Net(
            lambda s, x: (lambda y: s.f(s.p(y).flatten(1)) + (s.g(y.flatten(1)) if shared else 0))(s.a(s.c(x))),
            c=nn.Conv2d(2, 3, 3, padding=1),
            a=nn.ReLU(),
            p=pool,
            f=nn.Linear(12, 3),
            g=nn.Linear(48, 3),
        )
    )


def errors(net, images, change=None):
    ann = prepare(net, images)
    snn = convert(ann, "max_norm", images)
    if change:
        change(snn)
    found = simulate(snn, images, 1024, at=[16])
    return [(found.outputs[t] / t - net(images)).abs().mean().item() for t in (16, 1024)]


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1)], ids=str
)
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_pools_converge_with_T(pool, shared):
    images = torch.randn(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    early, late = errors(pooled(pool, shared), images)
    assert late < early / 20


def test_maximum_of_every_step_does_not_converge():
    def per_step(snn):
        pool = PerStep("max_pool2d", 2)
        pool.name = snn.p.name
        snn.p = pool

    images = torch.randn(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    early, late = errors(pooled(nn.MaxPool2d(2), shared=True), images, per_step)
    assert late > early / 2


def test_events_of_pools_are_distinguished_from_spikes(images):
    net = dyadic(Blocks(["max and mean"]))
    result = simulate(convert(prepare(net, images), "max_norm", dyadic_images(7)), dyadic_images(7), 8)
    assert set(result.events[8]) == {"a0", "p0"} and result.pools == {"p0"} and set(result.spikes(8)) == {"a0"}
    assert 0 < result.events[8]["p0"].sum() < result.events[8]["a0"].sum()


def test_ties_go_to_the_lowest_class_and_are_counted():
    result = Result({4: torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 3.0, 3.0]])}, {4: {}})
    assert result.predictions(4).tolist() == [0, 1, 0, 1] and result.undecided(4) == 3


MISTAKES = {
    "not prepared": (lambda net, ann, snn, x: convert(net, "opi", x), "prepare"),
    "not converted": (lambda net, ann, snn, x: simulate(ann, x, 4), "no spiking neurons"),
    "numpy calibration": (lambda net, ann, snn, x: convert(ann, "opi", [x.numpy()]), "torch tensors"),
    "wrong channels": (lambda net, ann, snn, x: simulate(snn, x[:, :1], 4), "(N, 2, 4, 4)"),
    "wrong channels in calibration": (lambda net, ann, snn, x: convert(ann, "opi", x[:, :1]), "(N, 2, 4, 4)"),
    "one image without a batch": (lambda net, ann, snn, x: simulate(snn, x[0], 4), "(N, 2, 4, 4)"),
    "NaN images": (lambda net, ann, snn, x: simulate(snn, x * float("nan"), 4), "finite"),
    "a step that was not read": (lambda net, ann, snn, x: simulate(snn, x, 4).predictions(3), "read at the steps 4"),
    "no example": (lambda net, ann, snn, x: prepare(net, None), "example tensor"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_answered_by_a_sentence(mistake):
    call, says = MISTAKES[mistake]
    net, x = random(residual()), dyadic_images(3)
    ann = prepare(net, x)
    with pytest.raises(UserError, match=re.escape(says)):
        call(net, ann, convert(ann, "opi", x), x)
