"""Residual membrane potential: neurons that should be silent are found in a first stage, and silenced."""

import torch
from torch import Tensor

from ann2snn.methods import StagedIF, ceiling, method, replace_activations


@method(paper="hao2023srp", source_activation="qcfs")
def srp(ann, stats, *, warmup=4):
    """All neurons start at V_th / 2; those with m <= V_th / 1000 after `warmup` steps (their tau) fire no more.

    Z. Hao et al., "Reducing ANN-SNN Conversion Error through Residual Membrane Potential", AAAI 2023. Most of the
    unevenness error is spikes of neurons whose activation is 0. Stage 1: tau steps; mask_i = [m_i(tau) > V_th / 1000].
    Stage 2: every m = V_th / 2 again, and the spikes are mask_i s_i(t); only these are read. All layers change over in
    the same step, so that those of stage 1 hear the spikes that no mask has met, and no layer waits for another.

    V_th is the trained threshold of a source that has one, the largest activation of any other. The paper takes tau = 4
    on CIFAR, 14 for VGG-16 and 8 for ResNet-34 on ImageNet.

    Differences from the paper and its code: T counts the tau steps of stage 1, those of the paper's tables do not (its
    T = 4 is T = 8 here); the paper converts QCFS networks only. Read: the code, not the text.
    """

    def neuron(activation):
        v_th = ceiling(activation, stats)
        return Masked(warmup, v_th, -activation.shift, v_th / 2)

    return replace_activations(ann, neuron)


class Masked(StagedIF):
    """Starts again where it started, or, near or below 0 then, where nothing makes it fire."""

    def again(self, m: Tensor) -> Tensor:
        return torch.where(m > 1e-3 * self.v_th, self.v_init, -torch.inf)
