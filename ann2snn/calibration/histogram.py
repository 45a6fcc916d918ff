"""Logarithmic histograms of positive values, for quantiles of bounded relative error."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

OCTAVES, BINS_PER_OCTAVE = 16, 1024  # bins of relative width 2^-10, over 16 octaves below a channel's maximum
DEPTH = OCTAVES * BINS_PER_OCTAVE
CHUNK = 2**22  # values or bins that are processed together
MANTISSA_SHIFT = 13  # a float32 without its last 13 bits: the exponent and the first 10 bits of the mantissa


@dataclass
class LogHistogram:
    """Counts of the values of each channel, in logarithmic bins below the channel's maximum.

    The index of a bin is its depth: bin 0 has the channel's maximum, and bin b is b bins of relative width 2^-10 below.
    The last bin, `DEPTH`, also counts all smaller positive values.

    Args:
        maxima: (c,), the exact maximum of each channel.
        bins: (c, DEPTH + 1), the number of values in each bin.
        zeros: (c,), the number of values that are zero or negative.
    """

    maxima: Tensor
    bins: Tensor
    zeros: Tensor

    @classmethod
    def empty(cls, maxima: Tensor) -> "LogHistogram":
        """A histogram without values, of channels with these maxima (C,)."""
        bins = torch.zeros(len(maxima), DEPTH + 1, dtype=torch.int, device=maxima.device)
        return cls(maxima, bins, torch.zeros(len(maxima), dtype=torch.long, device=maxima.device))

    @property
    def top_bins(self) -> Tensor:
        """(c,) int32: the absolute bin, exponent and first mantissa bits, of each channel's maximum."""
        return self.maxima.clamp(min=0).float().view(torch.int32) >> MANTISSA_SHIFT

    def add(self, values: Tensor) -> None:
        """Counts a batch of activations (B, C, ...)."""
        channels, top_bins = values.transpose(0, 1), self.top_bins
        step = max(1, CHUNK // max(channels[0].numel(), DEPTH + 1))
        for first in range(0, len(top_bins), step):
            chunk = slice(first, first + step)
            part = channels[chunk].flatten(1).float()
            positive = part > 0
            depth = (top_bins[chunk, None] - (part.contiguous().view(torch.int32) >> MANTISSA_SHIFT)).clamp_(0, DEPTH)
            depth += torch.arange(len(part), dtype=torch.int32, device=part.device)[:, None] * (DEPTH + 1)
            bins = torch.bincount(depth[positive], minlength=len(part) * (DEPTH + 1))
            self.bins[chunk] += bins.reshape(len(part), -1).int()
            self.zeros[chunk] += (~positive).sum(1)

    def merge(self) -> "LogHistogram":
        """The histogram of all channels as one: its bins are below the largest maximum."""
        top_bins = self.top_bins
        bins = torch.zeros_like(self.bins[0], dtype=torch.long)
        for row, top in zip(self.bins, top_bins, strict=True):
            bins += _shift_down(row.long(), int(top_bins.max() - top))
        return LogHistogram(self.maxima.max()[None], bins[None], self.zeros.sum()[None])

    def chunks(self) -> Iterator["LogHistogram"]:
        """Histograms of consecutive channels, of limited size, with int64 counts."""
        parts = (part.split(CHUNK // (DEPTH + 1)) for part in (self.maxima, self.bins, self.zeros))
        for maxima, bins, zeros in zip(*parts, strict=True):
            yield LogHistogram(maxima, bins.long(), zeros)

    def quantile(self, q: float, *, nonzero: bool) -> Tensor:
        """(c,): the nearest-rank quantile of each channel, rounded up by less than a relative 2^-10.

        Args:
            q: In (0, 1].
            nonzero: Ignore the values that are zero or negative.
        """
        zeros = torch.zeros_like(self.zeros) if nonzero else self.zeros
        total = zeros + self.bins.sum(1)
        rank = torch.tensor([math.ceil(q * n - 1e-9) for n in total.tolist()], device=self.bins.device)
        larger = (total - rank)[:, None]  # the number of values above the one of this rank
        depth = (self.bins.cumsum(1) <= larger).sum(1)
        edge = ((self.top_bins - depth + 1).clamp(min=1) << MANTISSA_SHIFT).int().view(torch.float32)
        quantile = torch.minimum(edge.to(self.maxima.dtype), self.maxima)
        return torch.where(rank > zeros, quantile, torch.zeros_like(self.maxima))

    def values(self) -> Tensor:
        """(c, DEPTH + 1), float64: the maximum of each channel, then the middle of each further bin."""
        bins = (self.top_bins[:, None] - torch.arange(DEPTH + 1, device=self.bins.device)).clamp(min=0)
        middle = 1 << (MANTISSA_SHIFT - 1)
        values = ((bins << MANTISSA_SHIFT) + middle).int().view(torch.float32).double()
        values[:, 0] = self.maxima
        return values


def _shift_down(bins: Tensor, by: int) -> Tensor:
    """The bins (DEPTH + 1,) of a channel, relative to a maximum that is `by` bins higher."""
    by = min(by, DEPTH)
    shifted = torch.zeros_like(bins)
    shifted[by:] = bins[: len(bins) - by]
    shifted[-1] += bins[len(bins) - by :].sum()
    return shifted
