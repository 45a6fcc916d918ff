"""Normalisation by the largest activation of every channel."""

from ann2snn.methods import IF, Quantile, method, replace_activations, soft, threshold


@method(paper="kim2020")
def channel_norm(ann, stats, *, reset=soft, quantile: Quantile = 1.0, start=0.0):
    """V_th = the largest activation of the channel, or a quantile of its non-zero ones.

    In a linear layer every unit is a channel. Membranes start at `start` times V_th; 0.5 is `opi` with thresholds by
    channel.

    S. Kim, S. Park, B. Na, S. Yoon, "Spiking-YOLO: Spiking Neural Network for Energy-Efficient Object Detection", AAAI
    2020: channel-wise normalisation. Scaling the weights from channel i to channel j by lambda_i / lambda_j with V_th =
    1 is the same as keeping them with V_th = lambda_j and spikes of that size.

    Differences from the paper: its signed neuron for leaky ReLUs is left out; the quantile and the start are ours, its
    membranes start at 0; a channel without activity has the layer's largest threshold. Read: the abstract; the
    normalisation second hand.
    """

    def neuron(activation):
        seen = stats[activation.name]
        top = seen.channel_max if quantile == 1 else seen.quantile(quantile, nonzero=True, per_channel=True)
        v_th = threshold(top, activation.name)
        return IF(v_th, reset, shift=-activation.shift, v_init=start * v_th)

    return replace_activations(ann, neuron)
