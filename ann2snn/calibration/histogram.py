"""Statistics of one layer: exact maxima and means, and a logarithmic histogram for quantiles."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ann2snn.errors import UserError

OCTAVES, BINS = 16, 1024  # bins of relative width 2^-10 over 16 octaves below a channel's maximum
DEPTH = OCTAVES * BINS
CHUNK = 2**22  # how many values, or bins, are looked at together


class LayerStatistics:
    """One activation (or the output). Channels are the first dimension of an image's activation (C, H, W) or (F,)."""

    def __init__(self, name: str, count: Callable[[], None]):
        self.name, self._count = name, count
        self.unit_max = torch.tensor(-torch.inf)  # (C, H, W) once seen: the exact maximum of every unit
        self._sum, self._seen = torch.tensor(0.0), 0  # (C, H, W) in double precision, and of how many images
        self._bins = torch.tensor(0)  # (C, DEPTH + 1) int32: how many values lie b bins below the channel's maximum
        self._zeros = torch.tensor(0)  # (C,): how many values are zero (or below, for the output)

    def update(self, values: Tensor) -> None:
        """Takes a batch (B, C, ...) into the maxima."""
        top = values.amax(0)
        if not torch.isfinite(top).all():
            raise UserError(
                f"{self.name} has values that are not finite on the calibration images: check images and weights."
            )
        self.unit_max = torch.maximum(self.unit_max.to(top), top)
        total = values.sum(0, dtype=torch.double)
        self._sum, self._seen = self._sum.to(total) + total, self._seen + len(values)

    @property
    def max(self) -> Tensor:
        """The largest value seen, a scalar."""
        return self.unit_max.amax()

    @property
    def channel_max(self) -> Tensor:
        """(C, 1, 1) or (F,): the largest value of every channel, ready to broadcast over an image's activation."""
        return self.unit_max.reshape(len(self.unit_max), -1).amax(1).reshape(-1, *[1] * (self.unit_max.dim() - 1))

    @property
    def unit_mean(self) -> Tensor:
        """(C, H, W) or (F,): the mean of every unit over the images."""
        return (self._sum / self._seen).to(self.unit_max)

    @property
    def channel_mean(self) -> Tensor:
        """(C, 1, 1) or (F,): the mean of every channel over images and places."""
        mean = (self._sum / self._seen).reshape(len(self._sum), -1).mean(1)
        return mean.reshape(self.channel_max.shape).to(self.unit_max)

    @property
    def dead_fraction(self) -> float:
        """The share of units that were never active."""
        return (self.unit_max <= 0).float().mean().item()

    def count(self, values: Tensor) -> None:
        """Takes a batch (B, C, ...) into the histogram: a bin is the exponent and the first 10 bits of the mantissa."""
        tops = self._tops()
        if not self._bins.dim():
            self._bins = torch.zeros(len(tops), DEPTH + 1, dtype=torch.int, device=values.device)
            self._zeros = torch.zeros(len(tops), dtype=torch.long, device=values.device)
        channels = values.transpose(0, 1)
        step = max(1, CHUNK // max(channels[0].numel(), DEPTH + 1))
        for first in range(0, len(tops), step):
            some = slice(first, first + step)
            seen = channels[some].flatten(1).float()
            positive = seen > 0
            depth = (tops[some, None] - (seen.contiguous().view(torch.int32) >> 13)).clamp_(0, DEPTH)
            depth += torch.arange(len(seen), dtype=torch.int32, device=seen.device)[:, None] * (DEPTH + 1)
            bins = torch.bincount(depth[positive], minlength=len(seen) * (DEPTH + 1))
            self._bins[some] += bins.reshape(len(seen), -1).int()
            self._zeros[some] += (~positive).sum(1)

    def histogram(self, *, per_channel: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """(values, counts), both (c, bins): the positive values from the largest down, some channels after the others.

        One row for each channel, or one for the layer. The first value is the maximum, and every other one the middle
        of a bin of relative width 2^-10; what lies below 2^-16 of the maximum is in the last.
        """
        for bins, _, tops, maxima in self._rows(per_channel):
            places = (tops[:, None] - torch.arange(DEPTH + 1, device=tops.device)).clamp(min=0)
            values = ((places << 13) + (1 << 12)).int().view(torch.float32).double()
            values[:, 0] = maxima
            yield values, bins

    def quantile(self, q: float, *, nonzero: bool = False, per_channel: bool = False) -> Tensor:
        """The nearest-rank quantile, a scalar or (C, 1, 1), over all values or over the non-zero ones.

        The value of rank ceil(q n) among n, rounded up by less than a relative 2^-10, never past the maximum: q = 1 is
        the exact maximum. A channel without (non-zero) values has the quantile 0.
        """
        if not 0 < q <= 1:
            raise UserError(f"A quantile lies in (0, 1], such as 0.999; {q} does not.")
        found = []
        for bins, zeros, tops, maxima in self._rows(per_channel):
            zeros = torch.zeros_like(zeros) if nonzero else zeros
            total = zeros + bins.sum(1)
            rank = torch.tensor([math.ceil(q * n - 1e-9) for n in total.tolist()], device=bins.device)
            above = (total - rank)[:, None]  # how many values lie above the one of this rank
            depth = (bins.cumsum(1) <= above).sum(1)
            edge = ((tops - depth + 1).clamp(min=1) << 13).int().view(torch.float32).to(maxima.dtype)
            found.append(torch.where(rank > zeros, torch.minimum(edge, maxima), torch.zeros_like(maxima)))
        return torch.cat(found).reshape(self.channel_max.shape) if per_channel else found[0][0]

    def _rows(self, per_channel: bool) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """(bins, zeros, highest bin, maximum) of some channels after the others, or of the layer as one channel."""
        self._count()
        all_of = self._bins, self._zeros, self._tops(), self.channel_max.flatten()
        if per_channel:
            for bins, *rest in zip(*(of.split(CHUNK // (DEPTH + 1)) for of in all_of), strict=True):
                yield bins.long(), *rest
            return
        bins, zeros, tops, maxima = all_of
        layer = torch.zeros_like(bins[0], dtype=torch.long)
        for row, top in zip(bins, tops, strict=True):
            layer += _deepen(row.long(), int(tops.max() - top))
        yield layer[None], zeros.sum()[None], tops.max()[None], maxima.max()[None]

    def _tops(self) -> Tensor:
        return self.channel_max.flatten().clamp(min=0).float().view(torch.int32) >> 13


def _deepen(bins: Tensor, by: int) -> Tensor:
    """A channel's bins, counted from a maximum that lies `by` bins higher."""
    by = min(by, DEPTH)
    out = torch.zeros_like(bins)
    out[by:] = bins[: len(bins) - by]
    out[-1] += bins[len(bins) - by :].sum()
    return out
