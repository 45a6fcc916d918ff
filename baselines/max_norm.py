"""Data-based normalisation by the largest activation."""

from ann2snn.methods import IF, method, replace_activations, soft, threshold


@method(paper="diehl2015")
def max_norm(ann, stats, *, reset=soft):
    """V_th = the largest activation of the layer.

    With soft reset this is `optimal` without its shift.

    P. U. Diehl et al., "Fast-classifying, high-accuracy spiking deep networks through weight and threshold balancing",
    IJCNN 2015, data-based normalisation. The paper scales the weights by lambda_{l-1} / lambda_l and uses V_th = 1.
    That is equivalent to unscaled weights with V_th = lambda_l.

    Differences from the paper: Input currents are constant, not Poisson spikes. Biases are kept. The reset of the paper
    is `reset=hard`. Read: second hand (the equivalence in Ding et al. 2021, theorem 1).
    """

    def neuron(activation):
        return IF(threshold(stats[activation.name].max, activation.name), reset, shift=-activation.shift)

    return replace_activations(ann, neuron)
