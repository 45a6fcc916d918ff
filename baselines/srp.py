"""Residual membrane potential: a first stage finds neurons that should be silent, and silences them."""

import torch
from torch import Tensor

from ann2snn.methods import StagedIF, default_threshold, method, replace_activations


@method(paper="hao2023srp", source_activation="qcfs")
def srp(ann, stats, *, warmup=4):
    """A first stage that silences inactive neurons.

    All neurons start at V_th / 2, and those with m <= V_th / 1000 after `warmup` steps are silenced.

    Z. Hao et al., "Reducing ANN-SNN Conversion Error through Residual Membrane Potential", AAAI 2023. Most of the
    unevenness error is due to spikes of neurons whose activation is 0. Stage 1 has tau = `warmup` steps and ends with
    mask_i = [m_i(tau) > V_th / 1000]. In stage 2 every membrane starts at V_th / 2 again, and the spikes are
    mask_i s_i(t); only these are read. All layers switch in the same step, so stage 1 uses spikes without masks, and no
    layer waits for another.

    V_th is the trained threshold of a source that has one, and the largest activation of other sources. The paper uses
    tau = 4 on CIFAR, and on ImageNet 14 for VGG-16 and 8 for ResNet-34.

    Differences from the paper and its code: T counts the tau steps of stage 1; the tables of the paper do not (its
    T = 4 is T = 8 here). The paper converts only QCFS networks. Read: the code, not the text.
    """

    def neuron(activation):
        v_th = default_threshold(activation, stats)
        return SRPNeuron(warmup, v_th, -activation.shift, v_th / 2)

    return replace_activations(ann, neuron)


class SRPNeuron(StagedIF):
    """An `IF` whose second stage begins at `v_init`, or at minus infinity for silenced units."""

    def reinitialize(self, m: Tensor) -> Tensor:
        return torch.where(m > 1e-3 * self.v_th, self.v_init, -torch.inf)
