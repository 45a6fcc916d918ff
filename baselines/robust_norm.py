"""Normalisation by a percentile of the activations."""

from ann2snn.methods import IF, Quantile, method, replace_activations, soft, threshold


@method(paper="rueckauer2017")
def robust_norm(ann, stats, *, reset=soft, quantile: Quantile = 0.999):
    """V_th = the 99.9th activation percentile.

    V_th is the 99.9th percentile of the non-zero activations of the layer: outliers are clipped for a finer resolution.

    B. Rueckauer et al., "Conversion of continuous-valued deep networks to efficient event-driven networks for image
    classification", Frontiers in Neuroscience 11 (2017), section 2.2.2: robust normalisation, reset by subtraction,
    constant input currents.

    Differences from the paper: The percentile is over the non-zero activations, as in the authors' SNN toolbox. Read:
    the toolbox's code.
    """

    def neuron(activation):
        v_th = stats[activation.name].quantile(quantile, nonzero=True)
        return IF(threshold(v_th, activation.name), reset, shift=-activation.shift)

    return replace_activations(ann, neuron)
