"""The conventions of the released code of Deng & Gu 2021, as options."""

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
    """`optimal` with options of the released code.

    The code is Jackn0/snn_optimal_conversion_pipeline (2021). With the default options the method is `optimal`. The
    options reproduce old numbers and vary one factor at a time. `readout="spiking"`: The last layer is spiking too. Its
    threshold is the largest output, and it has a shift like the others. The class is the one with the most spikes, and
    ties go to the lowest index. `residual_shift=False`: No shift after a residual addition. `shifts=2`: The shift is
    applied twice, in the bias and at every step, as before May 2021. `shift_T`: The shift is V_th / (2 shift_T) for
    every T. That is what the code reads at t < shift_T of one run, where shift_T is its --shift_snn, by default 32. (A
    fifth difference, calibration on augmented images, is an option of the sweep.)

    Differences from the code: V_th of a residual addition is the largest activation there, as in the code, but over the
    calibration images only. With `shifts=2` all neurons have two shifts; in the code, only those of layers with a bias
    have (in its ResNet-20 none has). Read: the code.
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
    """Names of the activations whose input is the sum of two branches."""
    return {
        ann.get_submodule(user.target).name
        for node in ann.graph.nodes
        if node.target is torch.add and len(node.all_input_nodes) == 2
        for user in node.users
        if user.op == "call_module"
    }
