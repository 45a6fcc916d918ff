"""SNN calibration, light: a bias for every channel."""

from ann2snn.baselines.mmse import mmse  # type: ignore
from ann2snn.methods import layer_by_layer, method


@method(paper="li2021snnc")
def snnc_lp(ann, stats, T, images, *, per_channel=False):
    """V_th = MMSE, shift V_th / (2T); then, layer by layer, every channel's shift less the excess of its mean output:

        shift_c <- shift_c - (mean output_c over images, places and T steps - mean of the ANN's activation_c)

    in one shot, from the spikes of the corrected layers before. The output layer keeps its bias.

    Y. Li, S. Deng, X. Dong, R. Gong, S. Gu, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", ICML 2021: the light pipeline (bias calibration).

    Differences from the paper and its code: V_th is that of `mmse` with the floor error, over all calibration images at
    once (the code averages over seven batches of 128); the means are over all calibration images too (the code takes
    one batch: 128 images for CIFAR, 64 for ImageNet, with the augmentation of the training);
    `per_channel=False`, one threshold for a layer, is the code's choice in all its scripts; linear layers that spike
    are corrected as well (its networks have none); the code always calibrates for 32 steps, here T is the T that is
    simulated. Read: the code; not the full text of the paper.
    """
    snn = mmse(ann, stats, T, error="floor", per_channel=per_channel)

    def correct(neuron, train):
        expected, found = stats[neuron.name].channel_mean, train.mean()
        excess = found.reshape(len(found), -1).mean(1).reshape(expected.shape) - expected
        neuron.shift = (neuron.shift - excess).to(neuron.v_th)

    layer_by_layer(snn, images, T, correct)
    return snn
