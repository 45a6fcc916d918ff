"""Sources trained with the staircase activation of a spiking neuron."""

from ann2snn.methods import IF, default_threshold, method, replace_activations, soft


@method(paper="bu2022qcfs", source_activation="qcfs", required_activation="qcfs")
def qcfs(ann, stats, *, reset=soft, start=0.5):
    """V_th = the trained threshold.

    V_th is y_th (the paper's lambda), and every membrane starts at V_th / 2.

    T. Bu et al., "Optimal ANN-SNN Conversion for High-accuracy and Ultra-low-latency Spiking Neural Networks", ICLR
    2022. The source has the activation a = y_th clip(floor(z L / y_th + 1/2) / L, 0, 1), which is the mean output of
    the neuron in T = L steps of the constant current z. For other T the expected error is zero if z is uniform within a
    quantisation step.

    `start` is the share of V_th that the membrane starts with. With 0 the neuron has the staircase of `qcfs:L:floor`.
    With 1 it has that of `qcfs:L:ceil`, except for z exactly at an edge, including 0, where it is one level higher
    (ceil(x) is floor(x + 1) unless x is an integer). With a start slightly below 1 it has that staircase there too.

    Differences from the paper and its code: Trained thresholds have weight decay in the code, and here only if the
    recipe has it for all parameters (`decay_all`). The value is clipped before it is floored; the paper has the
    opposite order, with the same values. Nothing is calibrated. Read: the paper and the code.
    """

    def neuron(activation):
        v_th = default_threshold(activation, stats)
        return IF(v_th, reset, shift=-activation.shift, v_init=start * v_th)

    return replace_activations(ann, neuron)
