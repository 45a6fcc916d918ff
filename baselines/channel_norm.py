"""Normalisation by the largest activation per channel."""

from ann2snn.methods import IF, Quantile, method, replace_activations, soft, threshold


@method(paper="kim2020")
def channel_norm(ann, stats, *, reset=soft, quantile: Quantile = 1.0, start=0.0):
    """V_th = the largest activation per channel.

    With `quantile` below 1, V_th is that quantile of the non-zero activations of the channel. In a linear layer every
    unit is a channel. Membranes start at `start` times V_th. With `start=0.5` it is `opi` with thresholds per channel.

    S. Kim, S. Park, B. Na, S. Yoon, "Spiking-YOLO: Spiking Neural Network for Energy-Efficient Object Detection", AAAI
    2020: channel-wise normalisation. The paper scales the weights from channel i to channel j by lambda_i / lambda_j
    and uses V_th = 1. That is equivalent to unscaled weights with V_th = lambda_j and spikes of that amplitude.

    Differences from the paper: Its signed neuron for leaky ReLUs is left out. The quantile and the start are additions
    of this suite; the membranes of the paper start at 0. A channel without activity has the largest threshold of the
    layer. Read: the abstract; the normalisation second hand.
    """

    def neuron(activation):
        layer = stats[activation.name]
        top = layer.channel_max if quantile == 1 else layer.quantile(quantile, nonzero=True, per_channel=True)
        v_th = threshold(top, activation.name)
        return IF(v_th, reset, shift=-activation.shift, v_init=start * v_th)

    return replace_activations(ann, neuron)
