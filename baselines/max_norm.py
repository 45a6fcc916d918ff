"""Data-based normalisation by the largest activation."""

from ann2snn.methods import IF, method, replace_activations, soft, threshold


@method(paper="diehl2015")
def max_norm(ann, stats, *, reset=soft):
    """V_th = the largest activation of the layer; nothing else. With soft reset this is `optimal` without its shift.

    P. U. Diehl et al., "Fast-classifying, high-accuracy spiking deep networks through weight and threshold balancing",
    IJCNN 2015, data-based normalisation. Scaling the weights by lambda_{l-1} / lambda_l with V_th = 1 is the same as
    keeping them with V_th = lambda_l.

    Differences from the paper: constant input currents instead of Poisson spikes; biases are kept; the paper's reset is
    `reset=hard`. Read: second hand (the equivalence in Ding et al. 2021, theorem 1).
    """

    def neuron(activation):
        return IF(threshold(stats[activation.name].max, activation.name), reset, shift=-activation.shift)

    return replace_activations(ann, neuron)
