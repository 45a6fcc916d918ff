"""closed_loop: the least squares against a dense solve, perfect spikes, and the network of the caller."""

import copy

import pytest
import torch
from nets import Net, dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from oracle import engine
from torch import fx, nn

from ann2snn.calibration.preactivations import Preactivations
from ann2snn.conversion.neurons import IF
from ann2snn.conversion.surgery import replace_activations
from ann2snn.graph.network import modules_by_node
from ann2snn.graph.prepare import prepare
from ann2snn.methods import closed_loop
from ann2snn.methods.closed_loop import Regression, fit, summands
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.simulation.layerwise import layer_by_layer
from ann2snn.simulation.simulate import simulate

RIDGE = 0.01
LAYERS = {
    "linear": (nn.Linear(5, 3), (5,)),
    "linear without bias": (nn.Linear(4, 2, bias=False), (4,)),
    "convolution": (nn.Conv2d(2, 3, 3, padding=1), (2, 5, 4)),
    "strided and dilated": (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 7, 6)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (4, 5, 5)),
    "depthwise": (nn.Conv2d(3, 3, 3, padding=1, groups=3), (3, 4, 4)),
    "two per channel": (nn.Conv2d(3, 6, 1, groups=3), (3, 4, 4)),
}


def solved(layer: nn.Module, x: torch.Tensor, error: torch.Tensor, ridge: float) -> dict[str, torch.Tensor]:
    """Changes of weight and bias that minimise |change of the output - error|^2 + ridge s |change|^2, densely.

    The design matrix has a column for each parameter: the outputs where this parameter is one and all others zero.
    """
    layer = copy.deepcopy(layer).double()
    outputs = layer(x.double()).shape[1]
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros(outputs, dtype=torch.double))
    flat = nn.utils.parameters_to_vector([layer.weight, layer.bias])
    columns = []
    for k in range(len(flat)):
        nn.utils.vector_to_parameters(torch.eye(len(flat), dtype=torch.double)[k], [layer.weight, layer.bias])
        columns.append(layer(x.double()).flatten())
    design = torch.stack(columns, 1)
    squares, n = (design**2).sum(0), layer.weight[0].numel()
    per_output = torch.cat([squares[: -outputs or None].reshape(outputs, n), squares[-outputs:, None]], 1)
    scale = per_output.mean(1)  # s of every output, those of one group being equal
    scales = torch.cat([scale.repeat_interleave(n), scale])
    normal = design.T @ design + ridge * scales.diag()
    solution = torch.linalg.solve(normal, design.T @ error.double().flatten())
    return {"weight": solution[:-outputs].reshape(layer.weight.shape), "bias": solution[-outputs:]}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_regression_equals_a_dense_solve(name):
    layer, shape = LAYERS[name]
    layer, generator = random(copy.deepcopy(layer)), torch.Generator().manual_seed(1)
    x = torch.rand(12, *shape, generator=generator)
    error = torch.randn(layer(x).shape, generator=generator)
    expected, before = solved(layer, x, error, RIDGE), copy.deepcopy(layer)
    graph = fx.Graph()
    node = graph.call_module("layer", (graph.placeholder("x"),))
    regression = Regression(node, layer)
    for part, wanted in zip(x.split(5), error.split(5), strict=True):
        regression.add(part, wanted)
    regression.update(RIDGE)
    bias = 0 if before.bias is None else before.bias
    torch.testing.assert_close(layer.weight - before.weight, expected["weight"].float(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(layer.bias - bias, expected["bias"].float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("way", [{}, {"compiled": False}])
@torch.no_grad()
def test_the_branches_of_a_sum_are_fitted_one_after_the_other(way):
    """Each to what the others leave, from the mean inputs that the layer receives."""
    images = torch.rand(9, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    ann = prepare(random(residual()), images)
    pre, seen = Preactivations(ann, images), {}
    snn = replace_activations(ann, lambda activation: IF(1.5, v_init=0.75))

    def visit(neuron, trace):
        if neuron.name == "a2":
            (inputs,), z = trace.mean_inputs(), pre.of(trace.name)
            seen.update(inputs=inputs, z=z, before=copy.deepcopy(trace.layer))
            fit(trace, z, RIDGE)
            seen["after"] = copy.deepcopy(trace.layer)

    with engine(**way):
        layer_by_layer(snn, images, 5, visit)
    before, after, inputs = seen["before"], seen["after"], seen["inputs"]
    regressions = summands(before)
    assert len(regressions) == 2
    named = {n.name: x for n, x in zip(before.graph.nodes, inputs, strict=False)}
    for regression in regressions:
        x, layer = named[regression.source.name], regression.layer
        change = solved(layer, x, seen["z"] - before(*inputs), RIDGE)
        with_bias(layer).weight += change["weight"]
        layer.bias += change["bias"]
    changed = modules_by_node(after).values()
    for ours, theirs in zip(changed, modules_by_node(before).values(), strict=True):
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-3, atol=1e-5)


def with_bias(layer):
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros(len(layer.weight)))
    return layer


def binary_images(n):
    return (dyadic_images(n) > 0).float()


def test_perfect_spikes_correct_nothing():
    """Activations of 0 or 1 are spike trains without error, at any T: the weights stay as they are, bit for bit."""
    net = nn.Sequential(
        nn.Conv2d(2, 3, 1), ThresholdReLU(1.0), nn.Conv2d(3, 4, 3), ThresholdReLU(1.0), nn.Flatten(), nn.Linear(16, 3)
    )
    dyadic(net)
    for layer in (net[0], net[2]):
        layer.weight.data.mul_(4)  # whole numbers: every pre-activation is one
        layer.bias.data.mul_(4).round_()
    images = binary_images(20)
    ann = prepare(net, images)
    snn = convert(ann, "closed_loop", images, T=3)
    for name, parameter in ann.state_dict().items():
        if "weight" in name or "bias" in name:
            assert torch.equal(snn.state_dict()[name], parameter)
    assert torch.equal(simulate(snn, images, 3).mean(3), ann(images))


def test_the_network_of_the_caller_is_unchanged_and_a_repetition_is_equal():
    images = torch.rand(16, 2, 4, 4, generator=torch.Generator().manual_seed(5))
    ann = prepare(random(residual()), images)
    before = copy.deepcopy(ann.state_dict())
    first, second = (convert(ann, "closed_loop", images, T=4, seed=seed) for seed in (0, 1))
    tensors = {name: value for name, value in ann.state_dict().items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(value, before[name]) for name, value in tensors.items())
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert any(not torch.equal(value, tensors[name]) for name, value in first.state_dict().items() if name in tensors)


def test_weights_that_are_called_twice_are_fitted_for_each_call():
    shared = nn.Conv2d(2, 2, 1)
    net = Net(
        lambda s, x: s.fc(s.a3(s.c(s.a2(s.c(s.a1(s.c0(x)))))).flatten(1)),
        c0=nn.Conv2d(2, 2, 1), a1=nn.ReLU(), c=shared, a2=nn.ReLU(), a3=nn.ReLU(), fc=nn.Linear(32, 3),
    )  # fmt: skip
    images = torch.rand(8, 2, 4, 4, generator=torch.Generator().manual_seed(6))
    ann = prepare(random(net), images)
    snn = convert(ann, "closed_loop", images, T=4)
    first, second = (m.weight for m in snn.children() if isinstance(m, nn.Conv2d) and m is not snn.c0)
    assert not torch.equal(first, shared.weight) and not torch.equal(second, shared.weight)
    assert not torch.equal(first, second)


def test_every_part_lowers_the_error_of_the_output():
    """On calibration images; without least squares only thresholds and start potentials are chosen."""
    images = torch.rand(64, 2, 4, 4, generator=torch.Generator().manual_seed(7))
    ann = prepare(random(residual(), seed=8), images)
    logits = ann(images)

    def error(method, **options):
        snn = convert(ann, method, images, T=4, **options)
        return (simulate(snn, images, 4).mean(4) - logits).square().mean().item()

    without = error("closed_loop", least_squares=False)
    assert error("closed_loop", ridge=1e-4) < without < error("optimal")


def test_large_images_are_fewer(monkeypatch):
    images = torch.rand(20, 2, 4, 4, generator=torch.Generator().manual_seed(9))
    ann, seen = prepare(random(residual()), images), []
    monkeypatch.setattr(closed_loop, "VALUES", 48 * 7)  # the largest layer has 48 units
    monkeypatch.setattr(closed_loop, "layer_by_layer", lambda snn, images, *_: seen.append(len(images)))
    convert(ann, "closed_loop", images, T=4)
    assert seen == [7]
