"""Spike trains shuffled in time: a control for methods that change the timing of spikes."""

import functools

import torch
from torch import Tensor

from ann2snn.baselines.tpp import new_seed, uniform_numbers  # type: ignore
from ann2snn.methods import (
    IF,
    MultiStepNeuron,
    default_threshold,
    method,
    replace_activations,
    spike_train_of,
    to_channels_last,
    zero_spike_train,
)


class Permuted(MultiStepNeuron):
    """The spikes of an `IF` with soft reset, with the steps of every unit in a random order.

    The orders depend on `seed` alone. They are the same for all images and batches.
    """

    def __init__(self, v_th: Tensor, shift: float, v_init: Tensor, seed: int):
        super().__init__(v_th, shift, v_init)
        self.seed = seed

    def spike_train(self, currents: Tensor) -> Tensor:
        fired = spike_train_of(IF(self.v_th, shift=self.shift, v_init=self.v_init), currents)
        order = orders(self.seed, len(fired), fired.shape[2:])
        return reorder(fired, [bits.to(fired.device) for bits in order])


@functools.lru_cache(maxsize=32)
def orders(seed: int, T: int, units: torch.Size) -> list[Tensor]:
    """A random order of the steps for every unit of a spike train (T, B, ...), as bit masks.

    Returns:
        One list entry for every eight steps. In entry k, bit i of [t] (1, ...) is set if step 8 k + i moves to step t.
    """
    step = to_channels_last(uniform_numbers(seed, T, units).argsort(0)[:, 0])[:, None]
    eights = (step - first for first in range(0, T, 8))
    return [torch.where((i >= 0) & (i < 8), 1 << i.clamp(0, 7), 0).to(torch.uint8) for i in eights]


def reorder(fired: Tensor, orders: list[Tensor]) -> Tensor:
    """`fired.gather(0, order)` of bool (T, B, ...), faster: eight steps are the bits of a byte."""
    packed = [torch.zeros_like(fired[0], dtype=torch.uint8) for _ in orders]
    for t, step in enumerate(fired.view(torch.uint8)):
        packed[t // 8].add_(step, alpha=2 ** (t % 8))
    out = zero_spike_train(fired[0], len(fired))
    for t, step in enumerate(out.view(torch.uint8)):
        masked = (bits & order[t] for bits, order in zip(packed, orders, strict=True))
        torch.clamp(functools.reduce(torch.bitwise_or, masked), max=1, out=step)
    return out


@method(paper="bojkovic2025tpp", source_activation="qcfs")
def permute(ann, stats, T, generator, *, per_channel=True):
    """IF neurons with shuffled spike trains.

    IF neurons with soft reset and m(0) = V/2, whose spike trains are shuffled in time, every unit separately.

    The shuffle keeps the spike counts of the first layer and changes their timing only. Later layers, which receive
    spikes at a constant rate on average, fire differently. V is that of `accumulate_then_fire`.

    The control experiment of V. Bojkovic, X. Wu, B. Gu, "Temporal Misalignment in ANN-SNN Conversion and its Mitigation
    via Probabilistic Spiking Neurons", ICML 2025 (arXiv 2502.14487), which found that the shuffle alone helps.

    Differences from the paper: The paper shuffles networks that other methods converted (QCFS, SNN calibration, Deng &
    Gu); here that is so on QCFS sources only. The same orders are used for all images. Whether the units of a layer
    share an order in the paper is not known. Read: second hand (reviews of the paper).
    """

    def neuron(activation):
        v_th = default_threshold(activation, stats, per_channel)
        return Permuted(v_th, -activation.shift, v_th / 2, new_seed(generator))

    return replace_activations(ann, neuron)
