import pytest
import torch
from nets import dyadic, dyadic_images, one_thread, residual  # noqa: F401
from oracle import engine
from torch import nn

from ann2snn.conversion.neurons import IF, TimeVaryingIF
from ann2snn.conversion.surgery import replace_activations
from ann2snn.experiments.layer_errors import neurons_by_path, step_outputs
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.simulation import simulate as simulation_simulate
from ann2snn.simulation.layerwise import layer_by_layer
from ann2snn.simulation.simulate import simulate

WAYS = [{}, {"compiled": False}, {"compiled": True, "block": 3}]


def pooled():
    """A max-pool of spikes, and a flattened end."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("net", [residual, pooled])
@pytest.mark.parametrize("T, part", [(5, 7), (20, 3)])
def test_currents_equal_the_plain_loop(way, net, T, part, monkeypatch):
    """Dyadic, so exactly: whatever the parts of images and the blocks of steps."""
    images = dyadic_images(7)
    ann = prepare(dyadic(net()), images)
    snn = replace_activations(ann, lambda a: IF(2.0, shift=0.25, v_init=0.5))
    names = {module.name: place for place, module in neurons_by_path(snn).items()}
    truth = list(step_outputs(snn, images, T))
    monkeypatch.setattr(simulation_simulate, "batch_for", lambda *_: part)
    seen = []
    with engine(**way):
        layer_by_layer(snn, images, T, lambda neuron, train: seen.append((neuron.name, *whole(train))))
    assert [name for name, *_ in seen] == list(names)
    for name, currents, spikes, mean in seen:
        expected, fired = (torch.stack([step[names[name]][i] for step in truth]) for i in (0, 1))
        assert torch.equal(currents, expected) and torch.equal(spikes, fired)
        torch.testing.assert_close(mean, fired.double().mean((0, 1)), rtol=1e-12, atol=0)


def whole(train):
    """(T, N, ...) currents and spikes from the pieces of a train, and the mean."""
    return *(together(pieces, train.T) for pieces in (train.currents(), train.spikes())), train.mean()


def together(pieces, T):
    parts, columns = [], []
    for first, block in pieces:
        if first == 0 and columns:
            parts.append(torch.cat(columns))
            columns = []
        columns.append(block)
    whole = torch.cat([*parts, torch.cat(columns)], 1)
    assert len(whole) == T
    return whole


@pytest.mark.parametrize("way", WAYS)
def test_later_layers_receive_the_changed_spikes(way):
    images = dyadic_images(6)
    ann = prepare(dyadic(residual()), images)

    means = {}

    def visit(neuron, train):
        neuron.v_th = 2 * neuron.v_th
        neuron.v_init = torch.full_like(train.mean().float(), 0.25)
        means[neuron.name] = train.mean()

    with engine(**way):
        changed = replace_activations(ann, lambda a: IF(1.0))
        layer_by_layer(changed, images, 8, visit)
        same = replace_activations(ann, lambda a: IF(2.0, v_init=0.25))
        assert torch.equal(simulate(changed, images, 8).outputs[8], simulate(same, images, 8).outputs[8])
        last = []
        layer_by_layer(changed, images, 8, lambda neuron, train: last.append(train.mean()))
    events = simulate(same, images, 8).events[8]
    assert torch.equal(last[-1], 2 * events["a3"].double() / (8 * 6))
    assert all(torch.equal(mean, 2 * events[name].double() / (8 * 6)) for name, mean in means.items())


@pytest.mark.parametrize("way", WAYS)
def test_a_shift_for_every_step(way):
    """A timed neuron is an `IF` whose input has the shifts added, in any cut of the steps."""
    images, T = dyadic_images(5), 11
    ann = prepare(dyadic(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))), images)
    shift = torch.randint(-3, 4, (T, 3, 1, 1), generator=torch.Generator().manual_seed(1)) / 4
    with engine(**way):
        snn = replace_activations(ann, lambda a: TimeVaryingIF(1.5, shift=shift, v_init=0.25))
        result = simulate(snn, images, T + 2, at=(3, 8, 9))
    (neuron,) = neurons_by_path(snn).values()
    current = next(m for m in ann.modules() if isinstance(m, nn.Conv2d))(images)
    currents = torch.cat([current + shift[:, None], current.expand(2, *current.shape)])
    fired = IF(1.5, v_init=0.25).run(currents) != 0
    for t in result.events:
        assert torch.equal(result.events[t]["1"], fired[:t].sum((0, 1)))
    assert torch.equal(neuron.run(currents - torch.cat([shift[:, None], torch.zeros(2, 1, 3, 1, 1)])) != 0, fired)


def test_methods_that_calibrate_need_no_more_than_the_images():
    images = dyadic_images(6)
    snn = convert(prepare(dyadic(residual()), images), "max_norm", images)
    seen = []
    layer_by_layer(snn, images, 3, lambda neuron, train: seen.append((train.T, train.images)))
    assert seen == [(3, 6)] * 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("net", [residual, pooled])
@pytest.mark.parametrize("T, part", [(5, 7), (20, 3)])
def test_mean_inputs_give_the_mean_current(way, net, T, part, monkeypatch):
    """Up to the rounding of means; and those of the output give the mean output."""
    images = dyadic_images(7)
    snn = replace_activations(prepare(dyadic(net()), images), lambda a: IF(2.0, shift=0.25, v_init=0.5))
    monkeypatch.setattr(simulation_simulate, "batch_for", lambda *_: part)
    seen = {}

    def current(trace):
        return torch.cat([trace.layer(*inputs) for inputs in trace.mean_inputs()])

    def visit(neuron, trace):
        seen[trace.name] = current(trace), together(trace.currents(), T).mean(0), trace.receives_spikes

    with engine(**way):
        layer_by_layer(snn, images, T, visit, lambda trace: seen.update(output=(current(trace),)))
        output = simulate(snn, images, T).mean(T)
    torch.testing.assert_close(seen.pop("output")[0], output)
    assert [spikes for *_, spikes in seen.values()] == [False, *[True] * (len(seen) - 1)]
    for affine, mean, _ in seen.values():
        torch.testing.assert_close(affine, mean)


@pytest.mark.parametrize("way", WAYS)
def test_changed_weights_are_those_of_all_later_passes(way):
    """Of the first layer too, whose current is computed once."""
    images, T = dyadic_images(6), 9
    ann = prepare(dyadic(residual()), images)
    seen = []

    def visit(neuron, trace):
        for layer in trace.layer.children():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight *= -0.5
        seen.append(trace.mean())

    def visit_output(trace):
        trace.layer.get_submodule("fc").weight *= 2

    with engine(**way):
        changed = replace_activations(ann, lambda a: IF(0.5, v_init=0.25))
        layer_by_layer(changed, images, T, visit, visit_output)
        result = simulate(changed, images, T)
        by_hand = prepare(dyadic(residual()), images)
        for name, factor in (("c1", -0.5), ("c2", -0.5), ("c3", -0.5), ("fc", 2)):
            by_hand.get_submodule(name).weight.data *= factor
        same = simulate(replace_activations(by_hand, lambda a: IF(0.5, v_init=0.25)), images, T)
    assert torch.equal(result.outputs[T], same.outputs[T])
    assert torch.equal(seen[-1], 0.5 * result.events[T]["a3"].double() / (T * 6))
