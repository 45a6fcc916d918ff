"""Two-phase probabilistic neurons: accumulate, then fire at random."""

import functools

import torch
from torch import Tensor

from ann2snn.methods import (
    MultiStepNeuron,
    default_threshold,
    integrate,
    method,
    replace_activations,
    to_channels_last,
    zero_spike_train,
)


class TPPNeuron(MultiStepNeuron):
    """Accumulates T steps to m, then fires at step t = 1..T with probability clip(m / (v_th (T - t + 1)), 0, 1):

        s ~ Bernoulli;   m <- m - v_th s;   out = v_th s

    If m / v_th is an integer k in 0..T, there are exactly k spikes, and all arrangements are equally likely. Otherwise
    the number of spikes is one of the two nearest integers, but its mean is not m / v_th: it is larger up to T / 2, and
    smaller above.

    The random numbers depend on `seed`, the unit and the step. They are the same for all images and batches.
    """

    def __init__(self, v_th: Tensor, shift: float, seed: int):
        super().__init__(v_th, shift)
        self.seed = seed

    def spike_train(self, currents: Tensor) -> Tensor:
        m = integrate(self, currents)
        fired, spikes = zero_spike_train(m, len(currents)), torch.empty_like(m)  # comparing into floats is faster
        for t, u in enumerate(uniform_numbers(self.seed, len(fired), m.shape[1:]).to(m.device)):
            bound = to_channels_last(u * self.v_th * (len(fired) - t))
            fired[t] = torch.gt(m, bound, out=spikes)
            m = m - self.v_th * spikes
        return fired


@method(paper="bojkovic2025tpp", source_activation="qcfs")
def tpp(ann, stats, T, generator, *, per_channel=True):
    """Accumulation, then random firing.

    Every layer accumulates T steps to m and then fires at random, on average at a constant rate over T steps:

        P(spike at t) = clip(m / (V (T - t + 1)), 0, 1), t = 1..T;   m <- m - V after a spike

    V is that of `accumulate_then_fire`. m starts at 0, because random firing needs no start potential for rounding.

    V. Bojkovic, X. Wu, B. Gu, "Temporal Misalignment in ANN-SNN Conversion and its Mitigation via Probabilistic Spiking
    Neurons", ICML 2025 (arXiv 2502.14487).

    Differences from the paper: The paper puts the neuron into networks that other methods converted (QCFS, SNN
    calibration, Deng & Gu), with their thresholds and biases; here that is so on QCFS sources only. The same random
    numbers are used for all images. Whether the paper starts at 0 is not known. Read: second hand (a summary of the
    rule, and reviews); the code is not public at the address that the paper names.
    """

    def neuron(activation):
        return TPPNeuron(default_threshold(activation, stats, per_channel), -activation.shift, new_seed(generator))

    return replace_activations(ann, neuron)


def new_seed(generator: torch.Generator) -> int:
    """A seed for one layer."""
    return int(torch.randint(2**62, (), generator=generator))


@functools.lru_cache(maxsize=32)
def uniform_numbers(seed: int, T: int, units: torch.Size) -> Tensor:
    """Uniform random numbers on [0, 1), (T, 1, ...), for spike trains (T, B, ...) of units with this shape."""
    return torch.rand((T, 1, *units), generator=torch.Generator().manual_seed(seed))
