"""How much a difference in rounding may change: what a record that was made elsewhere is allowed to differ by."""

import copy

import torch
from torch import Tensor, fx

from ann2snn.calibration.statistics import Statistics

RUNS = 3  # with other roundings
LEVEL = 1e-3  # how often an honest record is taken for a wrong one, at one T and at most
UNIT = 2**-24  # of float32


def perturbed(ann: fx.GraphModule, stats: Statistics, seed: int) -> tuple[fx.GraphModule, Statistics]:
    """The prepared network and its statistics as another order of additions might have made them.

    Each addition of a sum of n products rounds its partial sum, with a standard deviation of 2^-24 / sqrt(3) of it, and
    the squares of the partial sums are in the mean half the square of the sum: together 2^-24 * sqrt(n / 6) of it, and
    sqrt(2) times as much between two computations (N. Higham, T. Mary, "A new approach to probabilistic rounding error
    analysis", SIAM J. Sci. Comput. 41(5), 2019, has the model; sums in blocks round less). So every weight is scaled by
    1 + 2^-24 * sqrt(n / 3) * z, with z from a standard normal distribution and n the weights of one output.

    Args:
        ann: What `prepare` returned; it stays as it is.
        stats: Its statistics; those of the copy are taken on the same images.
        seed: Of the draws.
    """
    generator, ann = torch.Generator().manual_seed(seed), copy.deepcopy(ann)
    with torch.no_grad():
        for weight in ann.parameters():
            if weight.dim() > 1:
                draws = torch.randn(weight.shape, generator=generator).to(weight)
                weight.mul_(1 + UNIT * (weight[0].numel() / 3) ** 0.5 * draws)
    return ann, Statistics(ann, stats.batches)


def flips(predictions: Tensor, others: list[Tensor]) -> tuple[int, ...]:
    """On how many images each of the other runs predicts another class."""
    return tuple(int((predictions != other).sum()) for other in others)


def allowed(flips: tuple[int, ...], level: float = LEVEL) -> int:
    """The largest number of images that two honest computations may differ in, after `flips` in each of the other runs.

    If rounding alone makes a record differ from this run, it is one more such run: of all d + sum(flips) flips, each is
    the record's with probability 1 / (runs + 1). Allowed is the largest d whose binomial tail is at least `level`. All
    runs count as many flips as the worst of them, so that a threshold that jumps in one of them is allowed for.
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
