"""Source networks trained with the stairs that a neuron makes."""

from ann2snn.methods import IF, ceiling, method, replace_activations, soft


@method(paper="bu2022qcfs", source_activation="qcfs", required_activation="qcfs")
def qcfs(ann, stats, *, reset=soft, start=0.5):
    """V_th = the trained threshold y_th (their lambda), and every membrane starts at V_th / 2.

    T. Bu et al., "Optimal ANN-SNN Conversion for High-accuracy and Ultra-low-latency Spiking Neural Networks", ICLR
    2022. The source has a = y_th clip(floor(z L / y_th + 1/2) / L, 0, 1), which is what the neuron fires in T = L steps
    of the constant current z; for other T the expected error is zero where z is uniform within a step.

    `start` is the share of V_th that the membrane starts with; from 0 the neuron fires the stairs of `qcfs:L:floor`.
    From 1 it fires those of `qcfs:L:ceil`, but for z at one of their edges, 0 among them, where it is one step above
    (ceil(x) is floor(x + 1) unless x is whole); from a little below 1 it fires them there too.

    Differences from the paper and its code: the trained thresholds have weight decay in the code, here only where the
    recipe has it for everything (`decay_all`); the stairs are clipped before they are floored (the paper writes it the
    other way round: the values are the same). Nothing is calibrated. Read: the paper and the code.
    """

    def neuron(activation):
        v_th = ceiling(activation, stats)
        return IF(v_th, reset, shift=-activation.shift, v_init=start * v_th)

    return replace_activations(ann, neuron)
