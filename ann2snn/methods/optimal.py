"""The paper's method."""

from ann2snn.methods import IF, method, replace_activations, soft, threshold


@method(paper="deng2021", source_activation="threshold_relu")
def optimal(ann, stats, T, *, reset=soft):
    """V_th = the largest activation, soft reset, and the shift V_th / (2T) less the shift the source was trained with.

    S. Deng, S. Gu, "Optimal Conversion of Conventional Artificial Neural Networks to Spiking Neural Networks", ICLR
    2021: threshold balancing (section 3.2) and the optimal shift (section 4), which takes the area between the ReLU and
    the stairs from V_th^2 / (2 T) to its minimum, V_th^2 / (4 T). For an activation uniform on [0, V_th] it also turns
    the mean squared error of a layer from V_th^2 / (3 T^2) into its minimum, V_th^2 / (12 T^2).

    Differences from the paper and its code: T in the shift is the T that is simulated (the code reads one run with a
    fixed shift at every t); the neurons after a residual addition have the shift too (the code leaves it out); V_th is
    calibrated on training images without augmentation; the read-out accumulates the output current instead of its
    spikes. Read: the code, the laboratory's summary of the paper, and quotations; not the full text.
    """

    def neuron(activation):
        v_th = threshold(stats[activation.name].max, activation.name)
        return IF(v_th, reset, shift=v_th / (2 * T) - activation.shift)

    return replace_activations(ann, neuron)
