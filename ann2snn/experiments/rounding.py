"""How far the results of another environment may differ because of rounding."""

import copy

import torch
from torch import Tensor, fx

from ann2snn.calibration.statistics import Statistics

RUNS = 3  # runs with perturbed weights
LEVEL = 1e-3  # significance level: upper bound of the false alarm rate at one T
UNIT = 2**-24  # unit roundoff of float32


def perturbed(ann: fx.GraphModule, stats: Statistics, seed: int) -> tuple[fx.GraphModule, Statistics]:
    """A copy of a network whose weights are perturbed as much as another order of additions perturbs sums.

    A sum of n products rounds its partial sum at every addition, with a standard deviation of 2^-24 / sqrt(3) of the
    partial sum. The squares of the partial sums are on average half the square of the sum. The relative error of the
    sum is 2^-24 * sqrt(n / 6), and the difference between two computations is sqrt(2) times as large. Sums in blocks
    round less. The model is that of N. Higham and T. Mary, "A new approach to probabilistic rounding error analysis",
    SIAM J. Sci. Comput. 41(5), 2019. Every weight is multiplied by 1 + 2^-24 * sqrt(n / 3) * z, where z is standard
    normal and n is the number of weights per output.

    Args:
        ann: A prepared network; it does not change.
        stats: Its statistics.
        seed: Seed of the perturbation.

    Returns:
        The copy, and its statistics on the same images.
    """
    generator, ann = torch.Generator().manual_seed(seed), copy.deepcopy(ann)
    with torch.no_grad():
        for weight in ann.parameters():
            if weight.dim() > 1:
                draws = torch.randn(weight.shape, generator=generator).to(weight)
                weight.mul_(1 + UNIT * (weight[0].numel() / 3) ** 0.5 * draws)
    return ann, Statistics(ann, stats.batches)


def flips(predictions: Tensor, others: list[Tensor]) -> tuple[int, ...]:
    """For each of the other runs, the number of images that it assigns another class."""
    return tuple(int((predictions != other).sum()) for other in others)


def allowed_differences(flips: tuple[int, ...], level: float = LEVEL) -> int:
    """Number of images in which an honest record may differ from this run.

    If only rounding differs, the record is one more perturbed run. Each of all d + sum(flips) flips is then the
    record's with probability 1 / (runs + 1). The largest d is allowed whose binomial tail is at least `level`. All runs
    count as many flips as the worst of them, to allow for a threshold that jumps in only one of them.

    Args:
        flips: Number of flipped images per perturbed run.
        level: Significance level.
    """
    n, p = len(flips) * max(flips), 1 / (len(flips) + 1)
    d = 0
    while _tail(n + d + 1, d + 1, p) >= level:
        d += 1
    return d


def _tail(n: int, k: int, p: float) -> float:
    """P(X >= k) for X ~ Binomial(n, p)."""
    from scipy.stats import binom

    return float(binom.sf(k - 1, n, p))
