"""Optimised potential initialisation."""

from ann2snn.methods import IF, method, replace_activations, soft, threshold


@method(paper="bu2022opi", source_activation="threshold_relu")
def opi(ann, stats, *, reset=soft):
    """V_th = the largest activation, m(0) = V_th / 2.

    T. Bu et al., "Optimized Potential Initialization for Low-Latency Spiking Neural Networks", AAAI 2022. For constant
    input the spike count at step T equals that of `optimal` with its shift V_th / (2T). At t < T, and in layers that
    receive spikes, the two differ.

    Differences from the paper: The paper trains sources with a learnable clip; here V_th is the largest activation of
    any source. Read: the paper.
    """

    def neuron(activation):
        v_th = threshold(stats[activation.name].max, activation.name)
        return IF(v_th, reset, shift=-activation.shift, v_init=v_th / 2)

    return replace_activations(ann, neuron)
