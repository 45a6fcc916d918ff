"""Residual membrane potentials: soft reset, and thresholds below the largest input."""

from ann2snn.baselines.spike_norm import balance  # type: ignore
from ann2snn.methods import Count, Positive, method, soft


@method(paper="han2020rmp")
def rmp(ann, stats, images, *, alpha: Positive = 0.7, steps: Count = 2500):
    """`spike_norm` with scaled V_th and soft reset.

    V_th is alpha times the largest weighted input sum, as in `spike_norm`. The reset is by subtraction.

    A neuron keeps what exceeds its threshold, so an input of up to V_th per step is not lost. A threshold below the
    largest input makes it fire more often, and so earlier; a mean input above V_th is clipped. The method is for ReLU
    networks, as in the paper. A source with clipped activations loses its clips, as in `spike_norm`.

    B. Han, G. Srinivasan, K. Roy, "RMP-SNN: Residual Membrane Potential Neuron for Enabling Deeper High-Accuracy and
    Low-Latency Spiking Neural Network", CVPR 2020.

    Differences from the paper: Those of `spike_norm`. The values of alpha in the paper were not found; 0.7 is the
    default factor for few steps in the code of the same group (nitin-rathi/hybrid-snn-conversion). That code finds all
    thresholds with alpha = 1 and scales them at the end; here a layer is measured with the spikes of layers whose
    thresholds are scaled already. Read: the abstract; the thresholds second hand.
    """
    return balance(ann, stats, images, soft, steps, alpha)
