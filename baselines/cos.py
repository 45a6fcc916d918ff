"""Calibration of offset spikes: start potentials are moved so that one spike more or fewer is fired."""

import torch
from torch import Tensor

from ann2snn.methods import (
    IF,
    MultiStepNeuron,
    ThresholdReLU,
    UserError,
    default_threshold,
    method,
    modules_by_node,
    replace_activations,
    spike_train_of,
    zero_spike_train,
)


@method(paper="hao2023cos", source_activation="qcfs")
def cos(ann, stats, *, warmup=4):
    """Start potentials from a trial of some steps.

    The first `warmup` steps (the paper's rho) from m = V_th / 2 calibrate every start potential.

    Z. Hao et al., "Bridging the Gap between ANNs and SNNs by Calibrating Offset Spikes", ICLR 2023. A neuron that fired
    and ends at m(rho) < 0 fired one spike too many. Its start is lowered by max(V_th, min m - 0.999 V_th), with the
    minimum over the steps in which it fired, before the reset; then it fires one spike fewer. A neuron that ends at
    m(rho) >= V_th fired one spike too few. Its start is raised by max(V_th, 1.001 V_th - max m), with the maximum over
    the steps in which it did not fire.

    Calibration is layer by layer: a layer is calibrated on the first rho steps of the spikes that the layer before it
    fires after its own calibration, and then runs on the same spikes from the first step on. So every layer after the
    first waits rho steps for its input. T counts rho steps of the first layer, whose input is constant, and the T - rho
    steps that are read. The last step is known after T + rho (layers - 1) steps; `latency` says so. Nothing is fired in
    the first rho steps. A run needs at least 2 rho steps, and its outputs can be read from step rho + 1 on.

    V_th is the trained threshold of a source that has one, and the largest activation of other sources. The paper uses
    rho = 4 on CIFAR and 8 on ImageNet.

    Differences from the paper and its code: T counts rho once, and `latency` the rest; the tables of the paper count
    neither (its T = 4 is T = 8 here). A neuron that ends at m(rho) >= V_th and fired in every step keeps its start; the
    code raises it by 1001 V_th, so that it always fires. Further rounds for two or more offset spikes are left out, as
    in the code. The paper converts only QCFS networks. Read: the code, not the text.
    """
    delayed = dependent_activations(ann)

    def neuron(activation):
        v_th = default_threshold(activation, stats)
        return COSNeuron(v_th, -activation.shift, warmup, activation.name in delayed)

    return replace_activations(ann, neuron)


def dependent_activations(ann) -> set[str]:
    """Names of the activations that depend on other activations."""
    after, names, modules = set(), set(), modules_by_node(ann)
    for node in ann.graph.nodes:
        module = modules.get(node)
        is_dependent = not after.isdisjoint(node.all_input_nodes)
        if is_dependent or isinstance(module, ThresholdReLU):
            after.add(node)
        if is_dependent and isinstance(module, ThresholdReLU):
            names.add(module.name)
    return names


FAR = 1e30  # larger than every membrane potential


class COSNeuron(MultiStepNeuron):
    """Integrate-and-fire from step `warmup` + 1 on, with a start potential from a trial of `warmup` steps.

    Args:
        v_th: Threshold.
        shift: Shift of every step.
        warmup: Steps of the trial.
        has_delay: Whether the layer waits for the trial of its input, which depends on other neurons.
    """

    def __init__(self, v_th: Tensor, shift: float, warmup: int, has_delay: bool):
        super().__init__(v_th, shift, v_init=v_th / 2)
        self.warmup, self.has_delay = warmup, has_delay

    def delay(self, T: int) -> int:
        return self.warmup if self.has_delay else 0

    def spike_train(self, currents: Tensor) -> Tensor:
        if self.warmup < len(currents) < 2 * self.warmup:
            raise UserError(
                f"Every layer is calibrated on {self.warmup} steps of its input: run {2 * self.warmup} steps or more"
                f" (they can be read from {self.warmup + 1} on)."
            )
        currents_after = currents[self.warmup :]
        start = self.start(currents_after[: self.warmup], self.v_init.expand(currents.shape[1:]))
        fired = zero_spike_train(start, len(currents))
        if len(currents_after):
            fired[self.warmup :] = spike_train_of(IF(self.v_th, shift=self.shift, v_init=start), currents_after)
        return fired

    def start(self, currents: Tensor, v_init: Tensor) -> Tensor:
        """Start potentials (B, ...), from a trial run on `currents` (steps, B, ...) that starts at `v_init`."""
        m, v_th = v_init, self.v_th
        firing, silent = m.new_tensor(FAR), m.new_tensor(-FAR)
        for current in currents:
            m = m + current + self.shift
            spikes = torch.ge(m, v_th, out=torch.empty_like(m))  # comparing into floats is faster
            firing = firing.minimum(m + FAR * (1 - spikes))  # the lowest membrane potential that fired
            silent = silent.maximum(m - FAR * spikes)  # the highest one that did not fire
            m = m - v_th * spikes
        too_often, too_seldom = (m < 0) & (firing < FAR / 2), (m >= v_th) & (silent > -FAR / 2)
        lower = (firing - 0.999 * v_th).maximum(v_th)
        higher = (1.001 * v_th - silent).maximum(v_th)
        return torch.where(too_often, v_init - lower, torch.where(too_seldom, v_init + higher, v_init))
