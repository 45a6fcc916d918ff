import copy
import functools
import inspect
import math
import re
import subprocess
import sys
from typing import Literal

import pytest
import torch
from nets import dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from torch import nn

import ann2snn
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.neurons import IF, RESETS, Neuron
from ann2snn.conversion.surgery import replace_activations
from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods import registry as methods_registry
from ann2snn.methods.convert import convert
from ann2snn.methods.options import Count, Positive, Quantile, annotations, checked
from ann2snn.methods.registry import discover, find, load_plugin
from ann2snn.networks.activations import ThresholdReLU, make
from ann2snn.simulation.simulate import simulate

METHODS = sorted(discover())
each_method = pytest.mark.parametrize("name", METHODS)
CASES = [(name, reset) for name in METHODS for reset in (RESETS if "reset" in find(name).options else [None])]
# an activation of every kind that some method needs
SPECS = {"qcfs": "qcfs:4", "slip_relu": "slip_relu:4:0.5", "tcl": "tcl"}
# methods whose error has a floor however large T is, and why
APPROXIMATE: dict[str, str] = {
    "srp": "who is silenced after the first stage stays so",
    "ltb": "the rarest activations stay above its thresholds",
}
SLOW = {"spike_norm": 8}  # methods with thresholds far above the activations: how much longer they run


@pytest.fixture(scope="module")
def images():
    return torch.randn(60, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ann():
    return prepare(random(residual()), torch.zeros(1, 2, 4, 4))


@pytest.fixture(scope="module")
def stats(ann, images):
    return Statistics(ann, lambda: images.split(25))


@pytest.fixture(scope="module")
def its(images):
    """(network, statistics) that a method converts: one for every activation that some method needs."""

    @functools.cache
    def of(required_activation):
        net = random(residual())
        if required_activation:
            net.a1, net.a2, net.a3 = (make(SPECS[required_activation])() for _ in range(3))
        ann = prepare(net.eval(), torch.zeros(1, 2, 4, 4))
        return ann, Statistics(ann, lambda: images.split(25))

    return lambda name: of(find(name).required_activation)


def neurons(snn):
    return {m.name: m for m in snn.children() if isinstance(m, Neuron)}


def test_the_methods_of_the_spine_are_found():
    assert {"optimal", "max_norm", "robust_norm", "opi"} <= set(METHODS)
    assert {find(name).name for name in METHODS} == set(METHODS)


def steps_of(name, T):
    """T steps that are read."""
    return T * SLOW.get(name, 1) + find(name).options.get("warmup", 0)


@pytest.mark.parametrize("name, reset", CASES)
def test_contract(name, reset, its, images):
    ann, stats = its(name)
    before, graph, children = copy.deepcopy(ann.state_dict()), str(ann.graph), list(ann.named_children())
    T, options = steps_of(name, 8), {"reset": reset} if reset else {}
    first, second = (convert(ann, name, stats, T=T, **options) for _ in range(2))
    assert list(neurons(first)) == list(activations(ann)) and not activations(first)
    if reset:
        assert {m.reset for m in neurons(first).values()} == {RESETS[reset]}
    one, two = (simulate(snn, images, T) for snn in (first, second))
    assert torch.equal(one.outputs[T], two.outputs[T])
    assert all(torch.equal(count, two.events[T][layer]) for layer, count in one.events[T].items())
    assert all(count > 0 for count in one.spikes(T).values())
    assert one.latency[T] >= T
    if find(name).is_stochastic:
        other = simulate(convert(ann, name, stats, T=T, seed=1, **options), images, T)
        assert not torch.equal(one.outputs[T], other.outputs[T])
    if not find(name).depends_on_T:
        longer = simulate(first, images, T + 5, at=[T])
        assert torch.equal(longer.outputs[T], one.outputs[T])
    assert list(ann.named_children()) == children and str(ann.graph) == graph
    assert all(torch.equal(value, before[key]) for key, value in ann.state_dict().items())
    assert not any(m._forward_hooks for m in ann.modules())


def error(name, reset, T, ann, stats, images):
    """Mean absolute difference between the network's output and the spiking one's mean output over T steps."""
    T, options = steps_of(name, T), {"reset": reset} if "reset" in find(name).options else {}
    result = simulate(convert(ann, name, stats, T=T, **options), images, T)
    return (result.mean(T) - clip(ann)(images)).abs().mean().item()


def clip(ann):
    """A network with stairs as the clips that they go round: what spikes converge to."""
    ann = copy.deepcopy(ann)
    for module in ann.modules():
        if hasattr(module, "L"):
            module.L = math.inf
    return ann


@each_method
def test_soft_reset_converges(name, its, images):
    errors = [error(name, "soft", T, *its(name), images) for T in (8, 256)]
    assert errors[1] < errors[0] / (2 if name in APPROXIMATE else 4)


@pytest.mark.parametrize("name", [name for name, reset in CASES if reset == "hard"])
def test_hard_reset_does_not_converge(name, its, images):
    """What exceeds the threshold is lost at every spike, so the error has a floor however long the simulation is."""
    errors = [error(name, "hard", T, *its(name), images) for T in (64, 512)]
    assert errors[1] > 0.8 * errors[0] and errors[1] > 5 * error(name, "soft", 512, *its(name), images)


@pytest.mark.parametrize("name", APPROXIMATE)
def test_a_declared_floor_is_one(name, its, images):
    """Four times the steps divide the error of the others by about four."""
    errors = [error(name, "soft", T, *its(name), images) for T in (1024, 4096)]
    assert errors[1] > errors[0] / 2


@pytest.mark.parametrize("name", ["spike_norm", "rmp"])
def test_balanced_thresholds_ignore_the_clip(name, ann, stats, images):
    """A source with clipped activations becomes the network without the clips."""
    net = random(residual())
    net.a1, net.a2, net.a3 = (ThresholdReLU(1.0) for _ in range(3))
    clipped = prepare(net, images)
    assert all(stats[layer].max > 2 for layer in activations(ann))
    result = simulate(convert(clipped, name, images), images, 1024, at=[8])
    to_free, to_clipped = (
        [(result.mean(T) - network(images)).abs().mean() for T in (8, 1024)] for network in (ann, clipped)
    )
    assert to_free[1] < to_free[0] / 10 and to_free[1] < to_clipped[1] / 10
    assert to_clipped[1] > 0.8 * to_clipped[0]


@each_method
def test_a_method_says_what_it_is(name):
    method = find(name)
    parameters = inspect.signature(method.function).parameters
    assert list(parameters)[:2] == ["ann", "stats"] and method.depends_on_T == ("T" in parameters)
    assert method.needs == [name for name in ("T", "images", "generator") if name in parameters]
    assert method.options.get("reset", "soft") == "soft"
    assert list(method.options) == [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert re.search(r"\b(19|20)\d\d\b", method.function.__doc__) and "Read:" in method.function.__doc__
    assert re.search(r"\d{4}", method.paper) and method.version >= 1


@pytest.mark.parametrize("name", METHODS)
def test_an_option_says_which_values_it_takes(name):
    """Of a text its choices, of None what else it can be; and the defaults are among these values."""
    method = find(name)
    hints = annotations(method.function)
    for option, default in method.options.items():
        if option != "reset" and (default is None or isinstance(default, str)):
            assert option in hints
            with pytest.raises(UserError, match=f"The option {option} of {name} is "):
                method.check({option: "no such value"})
    assert method.check({}) == method.options


Choice = Literal["a", "b"]


@pytest.mark.parametrize(
    "annotation, default, right, wrong",
    [
        (Choice, "a", ["a", "b"], ["c", 1, None, True]),
        (Choice | None, None, [None, "b"], ["c", 0]),
        (Literal[1, 2], 1, [1, 2], [3, True, "1", 1.0]),
        (Count, 5, [1, 7], [0, -1, 1.5, "abc", True, None]),
        (Count | None, None, [None, 3], [0, "x", 2.5]),
        (Positive, 0.7, [1e-9, 2.0], [0, -1, math.inf, math.nan, 10**400, "x"]),
        (Quantile, 1.0, [0.5, 1.0], [0, 1.5, "x", True]),
        (int | None, None, [None, 0], [-1, "x", 0.5]),
        (str, "a", ["b"], [1, None]),
        (None, "a", ["b"], [1, None]),
        (None, True, [False], [1, "x", None]),
        (None, None, [None, 1, "x"], []),
        (torch.Tensor, None, ["anything"], []),
        (int | str, 1, [2, "x", -1], []),
    ],
)
def test_values_are_checked_by_annotation_or_default(annotation, default, right, wrong):
    for value in right:
        assert checked("x", value, default, annotation) == value
    for value in wrong:
        with pytest.raises(UserError, match="^x is .*, not "):
            checked("x", value, default, annotation)


def test_a_whole_number_is_a_float_where_the_option_is_one():
    for annotation in (Quantile, Positive, float, None):
        assert type(checked("x", 1, 0.5, annotation)) is float


def test_annotations_for_type_checkers_only_are_left_out():
    def method(ann, stats, *, factor: "NotImported" = 0.5):  # noqa: F821  # pyright: ignore
        return ann

    assert annotations(method) == {}


def test_options():
    assert find("robust_norm").options == {"reset": "soft", "quantile": 0.999}
    assert find("optimal").options == find("max_norm").options == find("opi").options == {"reset": "soft"}
    assert [name for name in ("max_norm", "opi", "optimal", "robust_norm") if find(name).depends_on_T] == ["optimal"]


@pytest.mark.parametrize(
    "name, T, options, words",
    [
        ("optimum", 4, {}, "No method is called 'optimum'; the nearest are: optimal"),
        ("qqq", 4, {}, "No method is called 'qqq'; there are: .*max_norm, .*robust_norm"),
        ("optimal", 4, {"quantile": 1}, "optimal has no option 'quantile'; it has: reset."),
        ("opi", None, {"reset": "zero"}, "No reset rule is called 'zero'; known are soft and hard."),
        ("optimal", None, {}, "optimal converts for a given number of steps: pass T"),
        ("robust_norm", None, {"quantile": 99.9}, "quantile of robust_norm is a number in"),
        (
            "robust_norm",
            None,
            {"quantile": "x"},
            "quantile of robust_norm is a number in .0, 1., such as 0.999, not",
        ),
        ("channel_norm", None, {"start": math.nan}, "option start of channel_norm is a number of 0 or more"),
        ("srp", 8, {"warmup": -1}, "option warmup of srp is a whole number of 0 or more, such as 4, not -1"),
        ("srp", 8, {"warmup": 2.5}, "option warmup of srp is a whole number"),
        ("ftbc", 8, {"updates": True}, "option updates of ftbc is a whole number"),
        ("mmse", 8, {"per_channel": "x"}, "option per_channel of mmse is True or False, not 'x'"),
        ("spike_norm", None, {"steps": 0}, "steps of spike_norm is a whole number of 1 or more"),
        *[(name, T, {}, "T is a number of steps") for name in METHODS for T in (0, -1, True, 4.0, "4")],
    ],
)
def test_wrong_requests(name, T, options, words, ann, stats):
    with pytest.raises(UserError, match=words):
        convert(ann, name, stats, T=T, **options)


def test_thresholds_and_shifts(ann, stats):
    for name, shift, start in (("optimal", 1 / 32, 0), ("max_norm", 0, 0), ("opi", 0, 1 / 2)):
        for layer, neuron in neurons(convert(ann, name, stats, T=16)).items():
            v = stats[layer].max
            assert neuron.v_th == v and neuron.shift == shift * v and neuron.v_init == start * v


def test_shift_of_the_source_is_taken_back(images):
    net = random(residual())
    net.a1, net.a2, net.a3 = (ThresholdReLU(1.0, shift=0.25) for _ in range(3))
    ann = prepare(net, images)
    for T in (2, 8):
        for name, share in (("optimal", 1 / (2 * T)), ("max_norm", 0), ("robust_norm", 0), ("opi", 0)):
            for neuron in neurons(convert(ann, name, images, T=T)).values():
                assert neuron.shift == share * neuron.v_th - 0.25


def test_max_norm_is_optimal_without_its_shift(ann, stats, images):
    plain, shifted = convert(ann, "max_norm", stats), convert(ann, "optimal", stats, T=16)
    for neuron in neurons(shifted).values():
        neuron.shift.zero_()
    a, b = (simulate(snn, images, 16, at=range(1, 17)) for snn in (plain, shifted))
    for t in range(1, 17):
        assert torch.equal(a.outputs[t], b.outputs[t])
        assert all(torch.equal(count, b.events[t][layer]) for layer, count in a.events[t].items())


def test_weight_normalisation_is_threshold_balancing():
    """W_l * lambda_{l-1} / lambda_l and b_l / lambda_l with V = 1 give the spikes of the thresholds lambda_l."""
    scales = (4.0, 2.0)
    chain = [
        nn.Conv2d(2, 3, 3),
        ThresholdReLU(scales[0]),
        nn.Conv2d(3, 4, 2),
        ThresholdReLU(scales[1]),
        nn.Flatten(),
        nn.Linear(4, 3),
    ]
    net = dyadic(nn.Sequential(*chain), seed=3)
    images = dyadic_images(30, seed=3)
    normalised = copy.deepcopy(net)
    with torch.no_grad():
        for layer, before, after in ((0, 1.0, scales[0]), (2, scales[0], scales[1]), (5, scales[1], 1.0)):
            normalised[layer].weight.mul_(before / after)
            normalised[layer].bias.div_(after)
    normalised[1].y_th = normalised[3].y_th = 1.0
    assert torch.equal(normalised(images), net(images))
    balanced, unit = (convert(prepare(n, images), "max_norm", images) for n in (net, normalised))
    assert [n.v_th.item() for snn in (balanced, unit) for n in neurons(snn).values()] == [*scales, 1, 1]
    a, b = (simulate(snn, images, 16, at=range(1, 17)) for snn in (balanced, unit))
    for t in range(1, 17):
        assert torch.equal(a.outputs[t], b.outputs[t])
        assert all(torch.equal(count, b.events[t][layer]) for layer, count in a.events[t].items())


def test_half_start_and_shift_agree_in_the_first_layer_at_T():
    images = dyadic_images(40)
    ann = prepare(dyadic(residual()), images)
    shifted, started = (simulate(convert(ann, name, images, T=16), images, 16, at=[8]) for name in ("optimal", "opi"))
    assert torch.equal(shifted.events[16]["a1"], started.events[16]["a1"])
    assert not torch.equal(shifted.events[8]["a1"], started.events[8]["a1"])
    assert not torch.equal(shifted.events[16]["a3"], started.events[16]["a3"])


def test_robust_norm_takes_the_nearest_rank(ann, images):
    many = torch.randn(800, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    seen = {}
    hooks = [m.register_forward_hook(lambda m, _, out: seen.update({m.name: out})) for m in activations(ann).values()]
    ann(many)
    for hook in hooks:
        hook.remove()
    for options, q in (({}, 0.999), ({"quantile": 0.9}, 0.9)):
        for layer, neuron in neurons(convert(ann, "robust_norm", many, **options)).items():
            active = seen[layer][seen[layer] > 0].sort().values
            exact = active[math.ceil(q * len(active)) - 1].item()
            assert exact <= neuron.v_th.item() <= exact * (1 + 2**-10) and exact < seen[layer].max()


def test_calibration_as_tensor_list_or_statistics(ann, stats, images):
    snns = [convert(ann, "max_norm", c) for c in (images, [images[:7], images[7:]], stats)]
    for layer in activations(ann):
        values = [neurons(snn)[layer].v_th.item() for snn in snns]
        assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_a_converted_network_follows_the_dtype(ann, images):
    double = copy.deepcopy(ann).double()
    converted = convert(double, "max_norm", images)
    assert {n.v_th.dtype for n in neurons(converted).values()} == {torch.double}
    assert simulate(converted, images, 2).outputs[2].dtype == torch.double


def test_replacing_takes_any_neuron_by_activation(ann):
    snn = replace_activations(ann, lambda a: IF({"a1": 1.0, "a2": 2.0, "a3": 3.0}[a.name]))
    assert {name: n.v_th.item() for name, n in neurons(snn).items()} == {"a1": 1, "a2": 2, "a3": 3}


PLUGIN = """
from ann2snn import IF, method, replace_activations, threshold

@method(paper="nobody1999")
def {name}(ann, stats, *, factor=0.5):
    return replace_activations(ann, lambda a: IF(factor * threshold(stats[a.name].max, a.name)))
"""


SIGNATURE = """
import ann2snn

@ann2snn.method(paper="nobody1999")
def f({}):
    pass
"""


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(methods_registry, "METHODS", dict(methods_registry.METHODS))


def test_plugin(tmp_path, registry, ann, stats, images):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(name="half"))
    for _ in range(2):
        load_plugin(file)
    assert find("half").options == {"factor": 0.5} and not find("half").depends_on_T
    found = neurons(convert(ann, "half", stats, factor=0.25))
    assert all(n.v_th == stats[layer].max / 4 for layer, n in found.items())
    with pytest.raises(UserError, match="half has no option 'reset'; it has: factor"):
        convert(ann, "half", stats, reset="hard")


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("mine.py", PLUGIN.format(name="max_norm"), "Two methods are called 'max_norm': rename the one in .*mine.py"),
        ("mine.py", "x = 1", "registers no method: decorate a function with @ann2snn.method"),
        (
            "mine.py",
            "import nothing_of_that_name",
            r"mine.py cannot be imported \(mine.py, line 1\): ModuleNotFoundError",
        ),
        ("mine.py", "raise SystemExit", r"mine.py cannot be imported \(mine.py, line 1\): SystemExit"),
        (
            "mine.py",
            SIGNATURE.format("net, statistics, steps"),
            "no method can have the parameter 'steps'; write def f",
        ),
        ("mine.py", SIGNATURE.format("ann"), "a method takes the ANN and its statistics; write def f"),
        ("mine.py", SIGNATURE.format("ann, stats, **options"), "no method can have the parameter 'options'"),
        ("mine.py", SIGNATURE.format("ann, stats, *, factor"), "no method can have the parameter 'factor'"),
        ("mine.py", "def f(:", "mine.py cannot be imported: SyntaxError"),
        ("mine.txt", PLUGIN.format(name="half"), "mine.txt is not a Python file"),
        ("mine.py", None, "mine.py is not a Python file"),
    ],
)
def test_wrong_plugins(name, text, words, tmp_path, registry):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        load_plugin(tmp_path / name)
    assert set(methods_registry.METHODS) == set(METHODS)


def test_a_plugin_never_takes_a_name_of_the_suite(tmp_path):
    """Also where it is the first thing that a process loads."""
    (tmp_path / "mine.py").write_text(PLUGIN.format(name="optimal"))
    code = f"from ann2snn.methods.registry import load_plugin; load_plugin({str(tmp_path / 'mine.py')!r})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search("Two methods are called 'optimal': rename the one in .*mine.py", ran.stderr)


def test_names_at_the_top():
    assert all(getattr(ann2snn, name) for name in ann2snn.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ann2snn.nothing  # noqa: B018


class Together(Neuron):
    """Takes a whole train: fires its mean, rounded, at once and in the first steps."""

    def __init__(self, v_th):
        super().__init__()
        self.register_buffer("v_th", torch.as_tensor(v_th))

    def delay(self, T):
        return T

    def run(self, currents):
        n = (currents.sum(0) / self.v_th).floor().clamp(0, len(currents))
        return self.v_th * torch.stack([n > t for t in range(len(currents))])


def test_multi_step_neurons():
    """Dyadic, so exactly: counts of every layer from the means before it, the same for any batch; latency adds up."""
    images, T, v = dyadic_images(9), 16, 2.0
    ann = prepare(dyadic(residual()), images)
    stairs = copy.deepcopy(ann)
    for activation in activations(stairs).values():
        activation.forward = lambda x: ((x * T / v).floor() / T * v).clamp(0, v)
    snn = replace_activations(ann, lambda a: Together(v))
    expected = stairs(images)
    for batch in (None, 1, 4):
        result = simulate(snn, images, T, at=[3], batch=batch)
        assert torch.equal(result.mean(T), expected) and result.latency == {3: 3 + 3 * T, T: 4 * T}
        assert all(torch.equal(c, result.events[T][n].clamp(max=c)) for n, c in result.events[3].items())
    assert simulate(replace_activations(ann, lambda a: IF(v)), images, T).latency == {T: T}


def test_a_warmup_counts_as_steps_and_is_not_read(registry, ann, stats, images):
    @methods_registry.method(paper="nobody1999")
    def late(ann, stats, *, warmup=3):
        return replace_activations(ann, lambda a: IF(stats[a.name].max))

    plain = simulate(convert(ann, "max_norm", stats), images, 8, at=[3, 5])
    snn = convert(ann, "late", stats)
    result = simulate(snn, images, 8, at=[5])
    torch.testing.assert_close(result.outputs[8], plain.outputs[8] - plain.outputs[3])
    torch.testing.assert_close(result.mean(5), (plain.outputs[5] - plain.outputs[3]) / 2)
    assert result.spikes(8) == plain.spikes(8) and result.latency[8] == 8
    with pytest.raises(UserError, match=r"read at the steps 4 to T = 8, not at \[3\]"):
        simulate(snn, images, 8, at=[3])
    with pytest.raises(UserError, match="late reads nothing in its first 3 steps: pass a T of 4 or more"):
        convert(ann, "late", stats, T=3)


def test_arguments_follow_the_signature(registry, ann, stats, images):
    seen = []

    @methods_registry.method(paper="nobody1999", required_activation="threshold_relu")
    def curious(ann, stats, T, images, generator):
        seen.append((T, images, torch.rand(1, generator=generator)))
        return replace_activations(ann, lambda a: IF(1.0))

    for seed in (0, 0, 1):
        convert(ann, "curious", stats, T=4, seed=seed)
    assert [T for T, *_ in seen] == [4] * 3 and all(torch.equal(given, images) for _, given, _ in seen)
    assert seen[0][2] == seen[1][2] != seen[2][2]
    assert find("curious").is_stochastic and find("curious").options == {} and not find("max_norm").is_stochastic
    assert find("curious").applies("threshold_relu:1") and not find("curious").applies("qcfs:4")
    net = random(residual())
    net.a1, net.a2, net.a3 = (make("qcfs:4")() for _ in range(3))
    with pytest.raises(UserError, match="converts networks trained with threshold_relu, not this one: train it"):
        convert(prepare(net, images), "curious", images, T=4)


MISBEHAVING = """
import sys, torch
from torch import nn
from ann2snn import IF, method, replace_activations

@method(paper="nobody1999")
def raises(ann, stats):
    return {}["nothing"]

@method(paper="nobody1999")
def exits(ann, stats):
    raise SystemExit  # as sys.exit() does; W&B replaces that function in its process

@method(paper="nobody1999")
def gives_none(ann, stats):
    replace_activations(ann, lambda a: IF(1.0))

@method(paper="nobody1999")
def gives_the_ann(ann, stats):
    return ann

@method(paper="nobody1999")
def wrong_threshold(ann, stats):
    return replace_activations(ann, lambda a: IF(torch.ones(17)))

@method(paper="nobody1999")
def wrong_output(ann, stats):
    snn = replace_activations(ann, lambda a: IF(1.0))
    *_, last = (m for m in snn.children() if isinstance(m, nn.Linear))
    last.weight, last.bias = nn.Parameter(last.weight[:7]), nn.Parameter(last.bias[:7])
    return snn
"""
SENTENCES = {
    "raises": r"raises failed \(mine.py, line 8\): KeyError: 'nothing'\.",
    "exits": r"exits failed \(mine.py, line 12\): SystemExit\.",
    "gives_none": r"gives_none returned NoneType: return the network that replace_activations made\.",
    "gives_the_ann": r"gives_the_ann returned a network with activations: return the network that replace_",
}


def test_a_plugin_that_misbehaves_is_named(tmp_path, registry, ann, stats):
    (tmp_path / "mine.py").write_text(MISBEHAVING)
    load_plugin(tmp_path / "mine.py")
    for name, sentence in SENTENCES.items():
        with pytest.raises(UserError, match=sentence):
            convert(ann, name, stats)
