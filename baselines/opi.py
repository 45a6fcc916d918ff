"""Optimised potential initialisation."""

from ann2snn.methods import IF, method, replace_activations, soft, threshold


@method(paper="bu2022opi", source_activation="threshold_relu")
def opi(ann, stats, *, reset=soft):
    """V_th = the largest activation, and every membrane starts at V_th / 2.

    T. Bu et al., "Optimized Potential Initialization for Low-Latency Spiking Neural Networks", AAAI 2022. For constant
    input the spike count at step T is that of the shift V_th / (2T) of `optimal`, exactly; at t < T, and in the layers
    that see spikes, the two differ.

    Differences from the paper: it trains sources with a learnable clip; here V_th is the largest activation of whatever
    source is given. Read: the paper.
    """

    def neuron(activation):
        v_th = threshold(stats[activation.name].max, activation.name)
        return IF(v_th, reset, shift=-activation.shift, v_init=v_th / 2)

    return replace_activations(ann, neuron)
