"""Spike trains that are shuffled in time: the control for methods that change when neurons fire."""

import functools

import torch
from torch import Tensor

from ann2snn.baselines.tpp import draws, new_seed  # type: ignore
from ann2snn.methods import IF, WholeTrain, ceiling, fired_by, in_order, method, replace_activations, trains_like


class Permuted(WholeTrain):
    """The spikes of an `IF` with soft reset, the steps of every unit's train in an order of its own.

    The orders are those of `seed`, the same for all images, whatever batches they come in.
    """

    def __init__(self, v_th: Tensor, shift: float, v_init: Tensor, seed: int):
        super().__init__(v_th, shift, v_init)
        self.seed = seed

    def fired(self, currents: Tensor) -> Tensor:
        fired = fired_by(IF(self.v_th, shift=self.shift, v_init=self.v_init), currents)
        order = orders(self.seed, len(fired), fired.shape[2:])
        return in_other_order(fired, [bits.to(fired.device) for bits in order])


@functools.lru_cache(maxsize=32)
def orders(seed: int, T: int, units: torch.Size) -> list[Tensor]:
    """For trains (T, B, ...) an order of the steps for every unit: [k][t] (1, ...) has the bit i where the step 8 k + i
    is the one to come as step t."""
    step = in_order(draws(seed, T, units).argsort(0)[:, 0])[:, None]
    eights = (step - first for first in range(0, T, 8))
    return [torch.where((i >= 0) & (i < 8), 1 << i.clamp(0, 7), 0).to(torch.uint8) for i in eights]


def in_other_order(fired: Tensor, orders: list[Tensor]) -> Tensor:
    """`fired.gather(0, order)` of bool (T, B, ...), eight steps at once, as the bits of a byte, which is faster."""
    trains = [torch.zeros_like(fired[0], dtype=torch.uint8) for _ in orders]
    for t, step in enumerate(fired.view(torch.uint8)):
        trains[t // 8].add_(step, alpha=2 ** (t % 8))
    out = trains_like(fired[0], len(fired))
    for t, step in enumerate(out.view(torch.uint8)):
        hit = functools.reduce(
            torch.bitwise_or, (train & order[t] for train, order in zip(trains, orders, strict=True))
        )
        torch.clamp(hit, max=1, out=step)
    return out


@method(paper="bojkovic2025tpp", source_activation="qcfs")
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
