"""Rounding and timing errors of every layer, and networks whose spikes are evenly timed."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ann2snn.calibration.hooks import capture_activations
from ann2snn.calibration.images import images_of
from ann2snn.conversion.neurons import IF
from ann2snn.graph.network import modules_by_node


class ConstantRateNeuron(nn.Module):
    """A neuron whose input is constant over T steps. Maps a mean current (B, ...) to the mean output.

    Args:
        neuron: The neuron.
        T: Number of time steps.
    """

    def __init__(self, neuron: IF, T: int):
        super().__init__()
        self.neuron = neuron
        self.T = T

    def forward(self, current: Tensor) -> Tensor:
        state, total = self.neuron.init(current), torch.zeros_like(current)
        for _ in range(self.T):
            state, spikes = self.neuron.step(state, current)
            total += spikes
        return total / self.T


def constant_rate_network(snn: fx.GraphModule, T: int) -> fx.GraphModule:
    """A converted network as one forward pass, in which every neuron receives a constant input.

    With soft reset this is the ANN with every activation quantised to T levels: the accuracy of perfect spike timing.

    Args:
        snn: The converted network; it does not change.
        T: Number of time steps.
    """
    net = fx.GraphModule(snn, copy.deepcopy(snn.graph))
    for path, neuron in neurons_by_path(snn).items():
        setattr(net, path, ConstantRateNeuron(neuron, T))
    return net


def neurons_by_path(snn: fx.GraphModule) -> dict[str, IF]:
    """The neurons of a converted network by module path, in forward order."""
    return {str(node.target): module for node, module in modules_by_node(snn).items() if isinstance(module, IF)}


@dataclass
class LayerErrors:
    """Errors and activity of a spiking layer over T steps, means over images and units.

    Potentials and currents are in units of V_th. Errors are squared differences to the activation a of the ANN, in the
    unit of a.
    """

    name: str
    bound: float  # V_th^2 / (12 T^2), the error after the optimal shift for an activation uniform on [0, V_th]
    rounding: float = 0.0  # E(a' - a)^2 with the layer's input taken from the ANN
    total: float = 0.0  # E(a' - a)^2 in the spiking network
    spread: float = 0.0  # standard deviation of the ANN's pre-activation
    current: float = 0.0  # standard deviation over time of the current, root mean square over units
    silent: float = 0.0  # share of units without a spike
    saturated: float = 0.0  # share of units with a spike at every step


def layer_errors(ann: fx.GraphModule, snn: fx.GraphModule, images: Tensor | Iterable, T: int) -> list[LayerErrors]:
    """Errors of every spiking layer.

    Args:
        ann: The prepared network.
        snn: Its conversion for T steps.
        images: Images (N, C, H, W), or batches of them.
        T: Number of time steps.
    """
    neurons = neurons_by_path(snn)
    sums = {path: torch.zeros(8, dtype=torch.double) for path in neurons}
    with torch.inference_mode():
        for batch in images_of(images, 100):
            batch = batch.to(next(ann.parameters()))
            values = activation_values(ann, batch)
            over_time = {path: _SumsOverTime() for path in neurons}
            for step in step_outputs(snn, batch, T):
                for path, (current, spikes) in step.items():
                    over_time[path].add(current, spikes)
            for path, neuron in neurons.items():
                before, after = values[neuron.name]
                sums[path] += _sums_over_units(before, after, neuron, over_time[path], T)
    return [_errors(neuron, sums[path], T) for path, neuron in neurons.items()]


def _errors(neuron: IF, sums: Tensor, T: int) -> LayerErrors:
    n, z, z2, current, rounding, total, silent, saturated = sums.tolist()
    return LayerErrors(
        neuron.name,
        bound=(neuron.v_th.double() ** 2).mean().item() / (12 * T**2),
        rounding=rounding / n,
        total=total / n,
        spread=max(z2 / n - (z / n) ** 2, 0.0) ** 0.5,
        current=(current / n) ** 0.5,
        silent=silent / n,
        saturated=saturated / n,
    )


class _SumsOverTime:
    """Sums over the steps of one layer."""

    def __init__(self):
        self.current = self.squares = self.spikes = torch.zeros(())

    def add(self, current: Tensor, spikes: Tensor) -> None:
        self.current = self.current + current
        self.squares = self.squares + current.square()
        self.spikes = self.spikes + spikes


def _sums_over_units(before: Tensor, after: Tensor, neuron: IF, sums: _SumsOverTime, T: int) -> Tensor:
    """Sums over the units of a batch: count, z, z^2, variance of the current, both errors, silent, saturated."""
    v_th = neuron.v_th.expand_as(after[0])
    z, rate = before / v_th, sums.spikes / T
    variance = (sums.squares / T - (sums.current / T).square()).clamp(min=0) / v_th.square()
    silent, saturated = rate == 0, (rate / v_th - 1).abs() < 0.5 / T
    rounding = ConstantRateNeuron(neuron, T)(before) - after
    terms = (torch.ones_like(z), z, z.square(), variance, rounding.square(), (rate - after).square(), silent, saturated)
    return torch.stack([term.double().sum() for term in terms]).cpu()


def step_outputs(snn: fx.GraphModule, images: Tensor, T: int) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Simulates T steps in a plain loop. Yields current and spikes (B, ...) of every layer by module path."""
    interpreter = _StepInterpreter(snn)
    for _ in range(T):
        interpreter.outputs = {}
        interpreter.run(images)
        yield interpreter.outputs


class _StepInterpreter(fx.Interpreter):
    """Runs one step per call; the neurons keep their state between calls."""

    def __init__(self, snn: fx.GraphModule):
        super().__init__(snn)
        self.states, self.outputs = {}, {}

    def call_module(self, target, args, kwargs):
        module = self.fetch_attr(str(target))
        if not hasattr(module, "step"):
            return super().call_module(target, args, kwargs)
        if target not in self.states:
            self.states[target] = module.init(*args)
        self.states[target], spikes = module.step(self.states[target], *args)
        if isinstance(module, IF):
            self.outputs[target] = (*args, spikes)
        return spikes


def activation_values(ann: fx.GraphModule, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Input and output (B, ...) of every activation of the ANN by name, in forward order."""
    values = {}
    with capture_activations(ann, lambda module, before, after: values.update({module.name: (before, after)})):
        ann(images)
    return values
