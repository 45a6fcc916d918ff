"""Thresholds that minimise the quantisation error."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ann2snn.methods import IF, LayerStatistics, method, replace_activations, soft, threshold

GRID = 1 - 0.01 * torch.arange(95, dtype=torch.double)  # shares of the maximum, from the largest down
ROUNDINGS = {"round": 0.5, "floor": 0.0}


@method(paper="li2021snnc")
def mmse(ann, stats, T, *, reset=soft, error: Literal["round", "floor"] = "round", per_channel=True):
    """V_th that minimises the quantisation error.

    V_th is the one of 1.00, 0.99, ..., 0.06 times the maximum that minimises the mean of (a - Q(a))^2. The shift is
    V_th / (2T). Q(a) = V_th / T clip(round(a T / V_th), 0, T), with halves rounded up, is the output of a neuron with
    this shift for a constant current. `error="floor"` is the error of a neuron without the shift. No threshold is above
    the maximum or below 0.06 of it. Of two equal errors the larger threshold is taken.

    Y. Li, S. Deng, X. Dong, R. Gong, S. Gu, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", ICML 2021: the threshold search that its calibrations start from.

    Differences from the paper and its code: The code minimises the floor error although it uses the shift
    (`error="floor"`). Its script for CIFAR has one threshold per layer (`per_channel=False`), and linear layers always
    have one. The code averages the thresholds of 7 augmented batches of 128 with a running average of weight 0.1; here
    the error is over all images at once, from histograms with bins of relative width 2^-10. A channel without activity
    has the largest threshold of the layer. Read: the code.
    """

    def neuron(activation):
        v_th = mmse_threshold(stats[activation.name], T, error, per_channel)
        return IF(v_th, reset, shift=v_th / (2 * T) - activation.shift)

    return replace_activations(ann, neuron)


def mmse_threshold(statistics: LayerStatistics, T: int, error: str = "floor", per_channel: bool = True) -> Tensor:
    """Thresholds with the least squared error at T levels, of equal ones the largest.

    Args:
        statistics: Statistics of the layer.
        T: Number of levels.
        error: "floor" or "round", see `mmse`.
        per_channel: One threshold per channel, (C, 1, 1) or (F,), instead of a scalar.
    """
    thresholds = []
    for values, counts in statistics.histogram(per_channel=per_channel):
        grid = values[:, :1] * GRID.to(values.device)
        best = squared_errors(values, counts, grid, T, error).argmin(1, keepdim=True)
        thresholds.append(grid.gather(1, best))
    maxima = statistics.channel_max if per_channel else statistics.max
    return threshold(torch.cat(thresholds).reshape(maxima.shape).to(maxima), statistics.name)


def squared_errors(values: Tensor, counts: Tensor, thresholds: Tensor, T: int, error: str) -> Tensor:
    """Sum of (a - Q(a))^2 over a histogram, for every threshold: (c, G).

    Q(a) is V / T times the number of edges (j - 1/2) V / T ("round"), or j V / T ("floor"), j = 1..T, that are at most
    a. So the sum of a Q(a) is V / T times the sum of the values at or above each edge, and the sum of Q(a)^2 is
    (V / T)^2 times the sum of (2j - 1) over the number of values at or above edge j.

    Args:
        values: Values of the histogram (c, bins), from the largest down.
        counts: Their numbers (c, bins).
        thresholds: (c, G).
        T: Number of levels.
        error: "floor" or "round".
    """
    j = torch.arange(1, T + 1, device=values.device)
    number, total = (F.pad(x.cumsum(1), (1, 0)) for x in (counts, counts * values))  # over the first bins
    falling, square, errors = -values, (counts * values**2).sum(1), []
    for level in (thresholds / T).unbind(1):
        bins = torch.searchsorted(falling, -level[:, None] * (j - ROUNDINGS[error]), right=True)
        product, squares = total.gather(1, bins).sum(1), (number.gather(1, bins) * (2 * j - 1)).sum(1)
        errors.append(square - 2 * level * product + level**2 * squares)
    return torch.stack(errors, 1)
