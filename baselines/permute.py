"""Spike trains that are shuffled in time: the control for methods that change when neurons fire."""

import functools

import torch
from torch import Tensor

from ann2snn.baselines.tpp import draws, new_seed  # type: ignore
from ann2snn.conversion import ceiling, method, replace_activations
from ann2snn.neurons import IF, WholeTrain, trains_like
from ann2snn.simulation.layers import fired_by
from ann2snn.simulation.synapses import in_order


class Permuted(WholeTrain):
    """The spikes of an `IF` with soft reset, the steps of every unit's train in an order of its own.

    The orders are those of `seed`, the same for all images, whatever batches they come in.
    """

    def __init__(self, v_th: Tensor, shift: float, v_init: Tensor, seed: int):
        super().__init__(v_th, shift, v_init)
        self.seed = seed

    def fired(self, currents: Tensor) -> Tensor:
        fired = fired_by(IF(self.v_th, shift=self.shift, v_init=self.v_init), currents)
        order = orders(self.seed, fired.shape).to(fired.device).expand_as(fired)
        return torch.gather(fired, 0, order, out=trains_like(fired[0], len(fired)))


@functools.lru_cache(maxsize=32)
def orders(seed: int, shape: torch.Size) -> Tensor:
    """(T, 1, ...): for trains (T, B, ...), an order of the steps for every unit."""
    return in_order(draws(seed, shape).argsort(0)[:, 0])[:, None]


@method(paper="bojkovic2025tpp", published_on="qcfs")
def permute(ann, stats, T, generator, *, per_channel=True):
    """IF neurons with soft reset and m(0) = V/2 whose trains are shuffled in time, every unit's on its own.

    What a unit of the first layer fires stays the same, only its timing does not; the layers after it, which hear the
    spikes evenly in the mean, fire differently. V is that of `accumulate_then_fire`.

    The control experiment of V. Bojkovic, X. Wu, B. Gu, "Temporal Misalignment in ANN-SNN Conversion and its Mitigation
    via Probabilistic Spiking Neurons", ICML 2025 (arXiv 2502.14487), which found that the shuffle alone helps.

    Differences from the paper: it shuffles the trains of networks that another method converted (QCFS, SNN calibration,
    Deng & Gu), which here is so on QCFS sources only; the same orders serve all images. Whether there the units of a
    layer share an order is not known. Read: second hand (reviews of the paper).
    """

    def neuron(activation):
        v_th = ceiling(activation, stats, per_channel)
        return Permuted(v_th, -activation.shift, v_th / 2, new_seed(generator))

    return replace_activations(ann, neuron)
