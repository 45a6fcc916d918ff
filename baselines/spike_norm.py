"""Threshold balancing on the spikes of the network itself."""

from ann2snn.methods import IF, Count, layer_by_layer, method, replace_activations, soft, threshold

IMAGES = 128
MAX_BYTES = 5 * 2**27  # for the spikes of one layer; a residual network stores up to three layers at a time


@method(paper="sengupta2019")
def spike_norm(ann, stats, images, *, reset=soft, steps: Count = 2500):
    """V_th = the largest input sum at any step.

    Layer after layer, V_l = max over steps, images and units of (W_l x_{l-1}(t) + b_l), where x_{l-1}(t) are the spikes
    of the layer before, with its balanced threshold. Spikes are unevenly timed, so V_l is above the largest activation.

    The method is for ReLU networks, as in the paper. Nothing is clipped at V_l, so a source with clipped activations
    (threshold ReLU, ReLU6, hardtanh) loses its clips, and the error does not vanish for large T.

    A. Sengupta, Y. Ye, R. Wang, C. Liu, K. Roy, "Going Deeper in Spiking Neural Networks: VGG and Residual
    Architectures", Frontiers in Neuroscience 13 (2019), algorithm 1.

    Differences from the paper: Input currents are constant, not Poisson spikes. Biases, which its networks do not have,
    are part of the sum. The first 128 calibration images replace a batch of 512; fewer are used if the spikes of a
    layer would take more than 640 MiB (32 for VGG-16 with 32 x 32 pixels). Neurons that reset to zero, as in the paper,
    are `reset=hard`. Its thresholds for residual branches are not reproduced: an addition counts as one sum. Read:
    `find_threshold` of nitin-rathi/hybrid-snn-conversion, by the same group, for the steps and the batch; the paper
    second hand.
    """
    return balance(ann, stats, images, reset, steps, 1.0)


def balance(ann, stats, images, reset, steps, factor):
    """The spiking network whose thresholds are `factor` times the largest input sum within a number of steps."""
    snn = replace_activations(ann, lambda activation: IF(1.0, reset, shift=-activation.shift))
    largest = max(stats[neuron.name].unit_max.numel() for neuron in snn.children() if isinstance(neuron, IF))
    count = min(IMAGES, max(1, MAX_BYTES * 8 // (steps * largest)))

    def visit(neuron, trace):
        top = max(current.amax() for _, current in trace.currents()) + neuron.shift
        neuron.v_th = factor * threshold(top, neuron.name)

    layer_by_layer(snn, images[:count], steps, visit)
    return snn
