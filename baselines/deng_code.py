"""The conventions of the paper's released code, one option each."""

from typing import Literal

import torch

from ann2snn.methods import IF, Count, method, replace_activations, soft, spiking_output, threshold


@method(paper="deng2021", source_activation="threshold_relu")
def deng_code(
    ann,
    stats,
    T,
    *,
    reset=soft,
    readout: Literal["accumulated", "spiking"] = "accumulated",
    residual_shift=True,
    shifts=1,
    shift_T: Count | None = None,
):
    """`optimal`, with what the released code (Jackn0/snn_optimal_conversion_pipeline, 2021) does otherwise.

    By default it is `optimal`. The options, so that old numbers can be measured again and one factor varies at a time:
    `readout="spiking"`: the last layer is spiking too, its threshold the largest output, its shift as the others'; the
    class is the one with most spikes, and ties go to the lowest. `residual_shift=False`: no shift where a residual
    branch was just added. `shifts=2`: the shift twice, in the bias and at every step, as before May 2021. `shift_T`:
    V_th / (2 shift_T), whatever T is: what is read at t < shift_T of one run, where shift_T is the code's --shift_snn,
    by default 32. (The fifth, calibration on augmented images, is the sweep's.)

    Differences from the code: V_th of the residual additions is the largest activation there, as in the code, but over
    the calibration images only; with `shifts=2` all neurons have two shifts, in the code those whose layer has a bias
    (in its ResNet-20 none has). Read: the code.
    """
    unshifted = set() if residual_shift else residual_additions(ann)

    def shift(v_th):
        return shifts * v_th / (2 * (shift_T or T))

    def neuron(activation):
        v_th = threshold(stats[activation.name].max, activation.name)
        return IF(v_th, reset, shift=shift(v_th) * (activation.name not in unshifted) - activation.shift)

    snn = replace_activations(ann, neuron)
    if readout == "spiking":
        v_th = threshold(stats["output"].max, "output")
        spiking_output(snn, IF(v_th, reset, shift=shift(v_th)))
    return snn


def residual_additions(ann) -> set[str]:
    """The activations whose input is the sum of two branches."""
    return {
        ann.get_submodule(user.target).name
        for node in ann.graph.nodes
        if node.target is torch.add and len(node.all_input_nodes) == 2
        for user in node.users
        if user.op == "call_module"
    }
