"""Offset spikes: every neuron's start is moved so that a spike more or less is fired."""

import torch
from torch import Tensor

from ann2snn.methods import (
    IF,
    ThresholdReLU,
    UserError,
    WholeTrain,
    called,
    ceiling,
    fired_by,
    method,
    replace_activations,
    trains_like,
)


@method(paper="hao2023cos", source_activation="qcfs")
def cos(ann, stats, *, warmup=4):
    """`warmup` steps (their rho) from m = V_th / 2 tell every neuron where to start; then the same train again.

    Z. Hao et al., "Bridging the Gap between ANNs and SNNs by Calibrating Offset Spikes", ICLR 2023. A neuron that
    fired and ends at m(rho) < 0 fired once too often: its start is lowered by max(V_th, min m - 0.999 V_th), the
    minimum over the steps that it fired in, before the reset; then it fires once less. One that ends at m(rho) >= V_th
    fired too seldom: its start is raised by max(V_th, 1.001 V_th - max m), over the steps that it was silent in.

    Layer by layer: a layer tries out the first rho steps of the train that the layer before it then really fires, and
    answers from the first of these steps on. So it waits rho steps for its input, beyond what T counts: T steps are rho
    of the first layer, whose input is constant, and T - rho that are read, and the last of them is known after
    T + rho (layers - 1) steps. In the first rho steps nothing is fired. A run has at least 2 rho steps, as a layer
    needs rho to try out; its outputs can be read from rho + 1 on.

    V_th is the trained threshold of a source that has one, the largest activation of any other. The paper takes rho = 4
    on CIFAR and 8 on ImageNet.

    Differences from the paper and its code: T counts rho once and `latency` the rest, where the paper's tables count
    neither (its T = 4 is T = 8 here); a neuron that ends at m(rho) >= V_th and fired in every step keeps its start (the
    code raises it by 1001 V_th, so that it fires for ever); the paper's further rounds for two or more offset spikes
    are left out, as in the code; the paper converts QCFS networks only. Read: the code, not the text.
    """
    waiting = behind_others(ann)

    def neuron(activation):
        v_th = ceiling(activation, stats)
        return Calibrated(v_th, -activation.shift, warmup, activation.name in waiting)

    return replace_activations(ann, neuron)


def behind_others(ann) -> set[str]:
    """The activations that hear other ones."""
    after, found, modules = set(), set(), called(ann)
    for node in ann.graph.nodes:
        module = modules.get(node)
        hears = not after.isdisjoint(node.all_input_nodes)
        if hears or isinstance(module, ThresholdReLU):
            after.add(node)
        if hears and isinstance(module, ThresholdReLU):
            found.add(module.name)
    return found


FAR = 1e30  # beyond every membrane


class Calibrated(WholeTrain):
    """Integrate and fire from step `warmup` + 1 on, from a start that the `warmup` steps from there gave."""

    def __init__(self, v_th: Tensor, shift: float, warmup: int, waits: bool):
        super().__init__(v_th, shift, v_init=v_th / 2)
        self.warmup, self.waits = warmup, waits

    def delay(self, T: int) -> int:
        return self.warmup if self.waits else 0

    def fired(self, currents: Tensor) -> Tensor:
        if self.warmup < len(currents) < 2 * self.warmup:
            raise UserError(
                f"Every layer tries out {self.warmup} steps of its input: run {2 * self.warmup} steps or more"
                f" (they can be read from {self.warmup + 1} on)."
            )
        heard = currents[self.warmup :]
        start = self.start(heard[: self.warmup], self.v_init.expand(currents.shape[1:]))
        fired = trains_like(start, len(currents))
        if len(heard):
            fired[self.warmup :] = fired_by(IF(self.v_th, shift=self.shift, v_init=start), heard)
        return fired

    def start(self, currents: Tensor, v_init: Tensor) -> Tensor:
        """(B, ...): where the membranes shall start, by what they do on these currents (steps, B, ...) from v_init."""
        m, v_th = v_init, self.v_th
        firing, silent = m.new_tensor(FAR), m.new_tensor(-FAR)
        for current in currents:
            m = m + current + self.shift
            spikes = torch.ge(m, v_th, out=torch.empty_like(m))  # as floats, which is faster
            firing = firing.minimum(m + FAR * (1 - spikes))  # the lowest membrane that fired
            silent = silent.maximum(m - FAR * spikes)  # the highest one that did not
            m = m - v_th * spikes
        too_often, too_seldom = (m < 0) & (firing < FAR / 2), (m >= v_th) & (silent > -FAR / 2)
        lower = (firing - 0.999 * v_th).maximum(v_th)
        higher = (1.001 * v_th - silent).maximum(v_th)
        return torch.where(too_often, v_init - lower, torch.where(too_seldom, v_init + higher, v_init))
