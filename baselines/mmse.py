"""Thresholds that minimise the quantisation error."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ann2snn.methods import IF, LayerStatistics, method, replace_activations, soft, threshold

GRID = 1 - 0.01 * torch.arange(95, dtype=torch.double)  # of the maximum, from the largest down
ROUNDINGS = {"round": 0.5, "floor": 0.0}


@method(paper="li2021snnc")
def mmse(ann, stats, T, *, reset=soft, error: Literal["round", "floor"] = "round", per_channel=True):
    """V_th = the one of 1.00, 0.99, ..., 0.06 of the maximum m with the least mean of (a - Q(a))^2; shift V_th / (2T).

    Q(a) = V_th / T clip(round(a T / V_th), 0, T), halves up: what a neuron with this shift makes of a constant current.
    `error="floor"` is the error of a neuron without it. A search that ends at its edge keeps it: no threshold is above
    m, and none below 0.06 m. Of two equal errors the larger threshold is taken.

    Y. Li, S. Deng, X. Dong, R. Gong, S. Gu, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", ICML 2021: the threshold search that its calibrations start from.

    Differences from the paper and its code: there the error is the floor's although the shift is on (`error="floor"`);
    their script for CIFAR has one threshold for a layer (`per_channel=False`), and linear layers always have one; the
    thresholds of 7 augmented batches of 128 enter a running average with weight 0.1, here the error is over all images
    at once, from histograms with bins of relative width 2^-10; a channel without activity has the layer's largest
    threshold. Read: the code.
    """

    def neuron(activation):
        v_th = mmse_threshold(stats[activation.name], T, error, per_channel)
        return IF(v_th, reset, shift=v_th / (2 * T) - activation.shift)

    return replace_activations(ann, neuron)


def mmse_threshold(statistics: LayerStatistics, T: int, error: str = "floor", per_channel: bool = True) -> Tensor:
    """(C, 1, 1), (F,) or a scalar: the thresholds with the least squared error at T levels; of equals the largest."""
    found = []
    for values, counts in statistics.histogram(per_channel=per_channel):
        grid = values[:, :1] * GRID.to(values.device)
        best = squared_errors(values, counts, grid, T, error).argmin(1, keepdim=True)
        found.append(grid.gather(1, best))
    maxima = statistics.channel_max if per_channel else statistics.max
    return threshold(torch.cat(found).reshape(maxima.shape).to(maxima), statistics.name)


def squared_errors(values: Tensor, counts: Tensor, thresholds: Tensor, T: int, error: str) -> Tensor:
    """(c, G): the sum of (a - Q(a))^2 over a histogram's values and counts (c, bins), for thresholds (c, G).

    Q(a) is V / T times how many of the edges (j - 1/2) V / T, or j V / T, j = 1..T, lie at or below a. So the sums of
    a Q(a) and of Q(a)^2 are V / T times the sum of what lies at or above each edge, and (V / T)^2 (2j - 1) its number.
    """
    j = torch.arange(1, T + 1, device=values.device)
    number, total = (F.pad(x.cumsum(1), (1, 0)) for x in (counts, counts * values))  # of the first bins
    falling, square, errors = -values, (counts * values**2).sum(1), []
    for level in (thresholds / T).unbind(1):
        bins = torch.searchsorted(falling, -level[:, None] * (j - ROUNDINGS[error]), right=True)
        product, squares = total.gather(1, bins).sum(1), (number.gather(1, bins) * (2 * j - 1)).sum(1)
        errors.append(square - 2 * level * product + level**2 * squares)
    return torch.stack(errors, 1)
