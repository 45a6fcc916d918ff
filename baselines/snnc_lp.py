"""SNN calibration, light pipeline: a bias per channel."""

from ann2snn.baselines.mmse import mmse  # type: ignore
from ann2snn.methods import layer_by_layer, method


@method(paper="li2021snnc")
def snnc_lp(ann, stats, T, images, *, per_channel=False):
    """MMSE thresholds, calibrated biases.

    V_th = MMSE, shift V_th / (2T), and a calibrated shift per channel, layer by layer:

        shift_c <- shift_c - (mean output_c over images, positions and T steps - mean of the ANN's activation_c)

    A layer is corrected once, with the spikes of the corrected layers before it. The output layer keeps its bias.

    Y. Li, S. Deng, X. Dong, R. Gong, S. Gu, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", ICML 2021: the light pipeline (bias calibration).

    Differences from the paper and its code: V_th is that of `mmse` with the floor error over all calibration images;
    the code averages over seven batches of 128. The means are over all calibration images too; the code uses one batch:
    128 images for CIFAR, 64 for ImageNet, with the augmentation of the training. `per_channel=False`, one threshold per
    layer, is the choice of all scripts of the code. Linear layers that spike are corrected as well; the networks of the
    paper have none. The code always calibrates for 32 steps, this method for the simulated T. Read: the code; not the
    full text of the paper.
    """
    snn = mmse(ann, stats, T, error="floor", per_channel=per_channel)

    def correct(neuron, trace):
        expected, mean = stats[neuron.name].channel_mean, trace.mean()
        excess = mean.reshape(len(mean), -1).mean(1).reshape(expected.shape) - expected
        neuron.shift = (neuron.shift - excess).to(neuron.v_th)

    layer_by_layer(snn, images, T, correct)
    return snn
