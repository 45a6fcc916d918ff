"""Two-phase probabilistic neurons: accumulate, then fire by chance."""

import functools

import torch
from torch import Tensor

from ann2snn.methods import WholeTrain, ceiling, heard_by, in_order, method, replace_activations, trains_like


class Probabilistic(WholeTrain):
    """Hears T steps, m of them, then fires at step t = 1..T with probability clip(m / (v_th (T - t + 1)), 0, 1):

        s ~ Bernoulli;   m <- m - v_th s;   out = v_th s

    m / v_th = k of 0..T gives exactly k spikes, every arrangement of them equally likely. In between it is one of the
    two whole numbers, but their mean is not m / v_th: it is larger up to T / 2, and smaller above.

    The draws belong to the unit and the step, not to the image: those of `seed`, the same for all images, whatever
    batches they come in.
    """

    def __init__(self, v_th: Tensor, shift: float, seed: int):
        super().__init__(v_th, shift)
        self.seed = seed

    def fired(self, currents: Tensor) -> Tensor:
        m = heard_by(self, currents)
        fired, spikes = trains_like(m, len(currents)), torch.empty_like(m)  # compared as floats, which is faster
        for t, u in enumerate(draws(self.seed, len(fired), m.shape[1:]).to(m.device)):
            least = in_order(u * self.v_th * (len(fired) - t))
            fired[t] = torch.gt(m, least, out=spikes)
            m = m - self.v_th * spikes
        return fired


@method(paper="bojkovic2025tpp", source_activation="qcfs")
def tpp(ann, stats, T, generator, *, per_channel=True):
    """Every layer hears its T steps, then spends what it heard, m, by chance over T steps, evenly in the mean:

        P(spike at t) = clip(m / (V (T - t + 1)), 0, 1), t = 1..T;   m <- m - V after a spike

    V is that of `accumulate_then_fire`, and m starts at 0: chance rounds, so nothing is added for it.

    V. Bojkovic, X. Wu, B. Gu, "Temporal Misalignment in ANN-SNN Conversion and its Mitigation via Probabilistic Spiking
    Neurons", ICML 2025 (arXiv 2502.14487).

    Differences from the paper: it puts the neuron into networks that another method converted (QCFS, SNN calibration,
    Deng & Gu), with their thresholds and biases, which here is so on QCFS sources only; the same random numbers serve
    all images. Whether it starts at 0 is not known. Read: second hand (a summary of the rule, and reviews); the paper's
    code is not public where its repository says.
    """

    def neuron(activation):
        return Probabilistic(ceiling(activation, stats, per_channel), -activation.shift, new_seed(generator))

    return replace_activations(ann, neuron)


def new_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


@functools.lru_cache(maxsize=32)
def draws(seed: int, T: int, units: torch.Size) -> Tensor:
    """(T, 1, ...) uniform on [0, 1), for trains (T, B, ...) of so many units."""
    return torch.rand((T, 1, *units), generator=torch.Generator().manual_seed(seed))
