"""The method of Deng & Gu 2021."""

from ann2snn.methods import IF, method, replace_activations, soft, threshold


@method(paper="deng2021", source_activation="threshold_relu")
def optimal(ann, stats, T, *, reset=soft):
    """V_th = the largest activation, optimal shift.

    The reset is soft, and the shift is V_th / (2T) minus the shift of the training.

    S. Deng, S. Gu, "Optimal Conversion of Conventional Artificial Neural Networks to Spiking Neural Networks", ICLR
    2021: threshold balancing (section 3.2) and the optimal shift (section 4). The shift reduces the area between the
    ReLU and the staircase of the neuron from V_th^2 / (2 T) to its minimum, V_th^2 / (4 T). For an activation that is
    uniform on [0, V_th], it also reduces the mean squared error of a layer from V_th^2 / (3 T^2) to its minimum,
    V_th^2 / (12 T^2).

    Differences from the paper and its code: The shift uses the simulated T; the code reads all t from one run with a
    fixed shift. Neurons after a residual addition have the shift too; the code omits it there. V_th is calibrated on
    training images without augmentation. The read-out accumulates the output current, not output spikes. Read: the
    code, the authors' summary of the paper, and quotations; not the full text.
    """

    def neuron(activation):
        v_th = threshold(stats[activation.name].max, activation.name)
        return IF(v_th, reset, shift=v_th / (2 * T) - activation.shift)

    return replace_activations(ann, neuron)
