"""Threshold balancing by the spiking network itself."""

from ann2snn.methods import IF, Count, layer_by_layer, method, replace_activations, soft, threshold

IMAGES = 128
TRAINS = 5 * 2**27  # bytes for the spikes of one layer; up to three are kept in a residual network


@method(paper="sengupta2019")
def spike_norm(ann, stats, images, *, reset=soft, steps: Count = 2500):
    """V_th = the largest weighted input sum that arrives at any step, layer after layer.

    V_l = max over steps, images and units of (W_l x_{l-1}(t) + b_l), where x_{l-1}(t) are the spikes of the layer
    before, which has its threshold by then. Spikes come unevenly, so V_l lies above the largest activation.

    It is for ReLU networks, as the paper's are: nothing clips at V_l, so a source with clipped activations (threshold
    ReLU, ReLU6, hardtanh) becomes the network without the clips, and the error has a floor, however large T is.

    A. Sengupta, Y. Ye, R. Wang, C. Liu, K. Roy, "Going Deeper in Spiking Neural Networks: VGG and Residual
    Architectures", Frontiers in Neuroscience 13 (2019), algorithm 1.

    Differences from the paper: constant input currents instead of Poisson spikes; biases, which its networks lack, are
    part of the sum; the first 128 calibration images instead of a batch of 512, and fewer where a layer's spikes would
    take more than 640 MiB (32 for VGG-16 with 32 x 32 pixels); neurons that reset to zero as its own are `reset=hard`;
    its thresholds for residual branches are not reproduced: what is added counts as one sum. Read: `find_threshold` of
    nitin-rathi/hybrid-snn-conversion, by the same laboratory, for the steps and the batch; the paper second hand.
    """
    return balance(ann, stats, images, reset, steps, 1.0)


def balance(ann, stats, images, reset, steps, factor):
    """The network whose thresholds are `factor` times the largest input sum that arrives in so many steps."""
    snn = replace_activations(ann, lambda activation: IF(1.0, reset, shift=-activation.shift))
    largest = max(stats[neuron.name].unit_max.numel() for neuron in snn.children() if isinstance(neuron, IF))
    count = min(IMAGES, max(1, TRAINS * 8 // (steps * largest)))

    def visit(neuron, train):
        top = max(current.amax() for _, current in train.currents()) + neuron.shift
        neuron.v_th = factor * threshold(top, neuron.name)

    layer_by_layer(snn, images[:count], steps, visit)
    return snn
