"""Spikes as bytes, and the operations between two layers of neurons that keep them so."""

import functools
import operator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ann2snn.graph.operations import NEAREST


@dataclass(frozen=True)
class Spikes:
    """Spike counts with a common amplitude; the value of a unit is count x amplitude.

    Args:
        counts: (B, ...), uint8.
        amplitude: Amplitude of a spike. It broadcasts over one image.
        max_count: Upper bound of the counts; above 1 after a pool.
    """

    counts: Tensor
    amplitude: Tensor
    max_count: int = 1

    @property
    def shape(self) -> torch.Size:
        return self.counts.shape

    @property
    def dense(self) -> Tensor:
        """The values (B, ...), in floating point."""
        return self.counts * self.amplitude

    @property
    def unit_amplitude(self) -> Tensor:
        """Amplitude of every unit, (1, ...)."""
        return self.amplitude.expand(1, *self.shape[1:])


def is_per_channel(value: Tensor) -> bool:
    """Whether a value that broadcasts over images (C, H, W) is constant within a channel."""
    return value.dim() == 0 or (value.dim() == 3 and value.shape[1:] == (1, 1))


def apply(function, x, *rest, **keywords) -> Spikes | None:
    """Apply a function of the graph to spikes, or to a list of them.

    Returns:
        The result, or None where it cannot be expressed as `Spikes`.
    """
    if function is torch.cat and all(isinstance(part, Spikes) for part in x):
        counts, amplitudes = ([getattr(part, name) for part in x] for name in ("counts", "unit_amplitude"))
        max_count = max(part.max_count for part in x)
        return Spikes(torch.cat(counts, *rest), _per_channel(torch.cat(amplitudes, *rest)[0]), max_count)
    if not isinstance(x, Spikes):
        return None
    if function is F.avg_pool2d and not keywords:
        return _sum_pool(x, *rest)
    if function is F.pad and x.counts.dim() == 4 and is_per_channel(x.amplitude) and not keywords and len(rest) == 1:
        around = [0] * 4 + list(rest[0][4:6])
        return Spikes(F.pad(x.counts, rest[0]), F.pad(x.amplitude.expand(x.shape[1], 1, 1), around), x.max_count)
    if function in (torch.mul, torch.div) and not (isinstance(rest[0], Tensor) and rest[0].dim()):
        return Spikes(x.counts, function(x.amplitude, *rest), x.max_count)
    if function in MOVES:
        amplitude = x.amplitude
        if amplitude.dim():  # amplitudes move with the counts
            amplitude = _per_channel(function(x.unit_amplitude, *rest, **keywords)[0])
        return Spikes(function(x.counts, *rest, **keywords), amplitude, x.max_count)
    return None


# functions that move or copy values and compute none
MOVES = {
    torch.reshape, torch.permute, torch.transpose, torch.movedim, torch.adjoint, torch.flip, torch.fliplr, torch.roll,
    operator.getitem, torch.index_select, torch.broadcast_to, torch.tile, torch.repeat_interleave,
    F.pixel_shuffle, F.pixel_unshuffle, F.channel_shuffle, *NEAREST,
}  # fmt: skip


def _per_channel(amplitude: Tensor) -> Tensor:
    """Amplitudes of all units (C, H, W) as (C, 1, 1), if they are constant within every channel."""
    first = amplitude[:, :1, :1] if amplitude.dim() == 3 else amplitude
    return first if torch.equal(first.expand_as(amplitude), amplitude) else amplitude


def _sum_pool(x: Spikes, kernel, stride=None, padding=0, ceil_mode=False, include_pad=True, divisor=None):
    """An average pool as a sum over its windows, if these tile the image and a sum fits into a byte."""
    (h, w), step, pad = (v if isinstance(v, list | tuple) else (v, v) for v in (kernel, stride or kernel, padding))
    max_count = x.max_count * h * w
    tiled = tuple(step) == (h, w) and tuple(pad) == (0, 0) and x.shape[2] % h == 0 and x.shape[3] % w == 0
    if not tiled or max_count > 255 or not is_per_channel(x.amplitude):
        return None
    rows = functools.reduce(torch.add, (x.counts[:, :, i::h] for i in range(h)))
    sums = functools.reduce(torch.add, (rows[:, :, :, j::w] for j in range(w)))
    return Spikes(sums, x.amplitude / (divisor or h * w), max_count)
