"""Residual membrane potentials: the soft reset, and thresholds below the largest input."""

from ann2snn.baselines.spike_norm import balance  # type: ignore
from ann2snn.methods import Count, Positive, method, soft


@method(paper="han2020rmp")
def rmp(ann, stats, images, *, alpha: Positive = 0.7, steps: Count = 2500):
    """V_th = alpha times the largest weighted input sum, as in `spike_norm`; reset by subtraction.

    A neuron keeps what exceeds its threshold, so an input of up to V_th a step is not lost, and a threshold below the
    largest input makes it fire more often, that is earlier: what exceeds V_th on average is clipped. It is for ReLU
    networks, as the paper's are: a source with clipped activations becomes, as in `spike_norm`, one without its clips.

    B. Han, G. Srinivasan, K. Roy, "RMP-SNN: Residual Membrane Potential Neuron for Enabling Deeper High-Accuracy and
    Low-Latency Spiking Neural Network", CVPR 2020.

    Differences from the paper: those of `spike_norm`; and alpha: the paper's values were not found, 0.7 is the default
    factor for few steps in the same laboratory's code (nitin-rathi/hybrid-snn-conversion), which finds all thresholds
    with alpha = 1 and scales them at the end; here the trains that a layer is measured with have the scaled thresholds
    before it. Read: the abstract; the thresholds second hand.
    """
    return balance(ann, stats, images, soft, steps, alpha)
