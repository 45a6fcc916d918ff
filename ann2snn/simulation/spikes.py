"""Values between the neurons: spikes as bytes, and the linear operations that keep them so."""

import functools
import operator

# pyright: reportCallIssue=false, reportArgumentType=false
# (a module's methods are typed as what its attributes may be)
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ann2snn.conversion.neurons import IF, StagedIF
from ann2snn.graph.operations import NEAREST


@dataclass(frozen=True)
class Spikes:
    """counts (B, ...) as uint8, each worth `amplitude`, which broadcasts over one image; no count exceeds `most`."""

    counts: Tensor
    amplitude: Tensor
    most: int = 1

    @property
    def shape(self) -> torch.Size:
        return self.counts.shape

    @property
    def dense(self) -> Tensor:
        return self.counts * self.amplitude

    @property
    def unit_amplitude(self) -> Tensor:
        """(1, ...): of every unit."""
        return self.amplitude.expand(1, *self.shape[1:])


def by_channel(value: Tensor) -> bool:
    """Whether a value that broadcasts over images (C, H, W) is the same at every place of a channel."""
    return value.dim() == 0 or (value.dim() == 3 and value.shape[1:] == (1, 1))


def apply(function, x, *rest, **keywords) -> Spikes | None:
    """What a graph's function makes of spikes, or of a list of them, where the result is spikes again; else None."""
    if function is torch.cat and all(isinstance(part, Spikes) for part in x):
        counts, amplitudes = ([getattr(part, name) for part in x] for name in ("counts", "unit_amplitude"))
        largest = max(part.most for part in x)
        return Spikes(torch.cat(counts, *rest), _for_channels(torch.cat(amplitudes, *rest)[0]), largest)
    if not isinstance(x, Spikes):
        return None
    if function is F.avg_pool2d and not keywords:
        return _sum_pool(x, *rest)
    if function is F.pad and x.counts.dim() == 4 and by_channel(x.amplitude) and not keywords and len(rest) == 1:
        around = [0] * 4 + list(rest[0][4:6])
        return Spikes(F.pad(x.counts, rest[0]), F.pad(x.amplitude.expand(x.shape[1], 1, 1), around), x.most)
    if function in (torch.mul, torch.div) and not (isinstance(rest[0], Tensor) and rest[0].dim()):
        return Spikes(x.counts, function(x.amplitude, *rest), x.most)
    if function in MOVES:
        amplitude = x.amplitude
        if amplitude.dim():  # it goes where the counts go
            amplitude = _for_channels(function(x.unit_amplitude, *rest, **keywords)[0])
        return Spikes(function(x.counts, *rest, **keywords), amplitude, x.most)
    return None


# every value of the result is one of the image's
MOVES = {
    torch.reshape, torch.permute, torch.transpose, torch.movedim, torch.adjoint, torch.flip, torch.fliplr, torch.roll,
    operator.getitem, torch.index_select, torch.broadcast_to, torch.tile, torch.repeat_interleave,
    F.pixel_shuffle, F.pixel_unshuffle, F.channel_shuffle, *NEAREST,
}  # fmt: skip


def _for_channels(amplitude: Tensor) -> Tensor:
    """The amplitude of every unit (C, H, W) as (C, 1, 1), where that says it all."""
    first = amplitude[:, :1, :1] if amplitude.dim() == 3 else amplitude
    return first if torch.equal(first.expand_as(amplitude), amplitude) else amplitude


def _sum_pool(x: Spikes, kernel, stride=None, padding=0, ceil_mode=False, include_pad=True, divisor=None):
    """An average pool as the sum of its windows, where these tile the image and a sum fits a byte."""
    (h, w), step, pad = (v if isinstance(v, list | tuple) else (v, v) for v in (kernel, stride or kernel, padding))
    most = x.most * h * w
    tiled = tuple(step) == (h, w) and tuple(pad) == (0, 0) and x.shape[2] % h == 0 and x.shape[3] % w == 0
    if not tiled or most > 255 or not by_channel(x.amplitude):
        return None
    rows = functools.reduce(torch.add, (x.counts[:, :, i::h] for i in range(h)))
    sums = functools.reduce(torch.add, (rows[:, :, :, j::w] for j in range(w)))
    return Spikes(sums, x.amplitude / (divisor or h * w), most)


def cut(neuron: IF, t: int, pieces: list[int]) -> list[int]:
    """The pieces that come after step t; one of them in two where the neuron's second stage begins in it."""
    if not isinstance(neuron, StagedIF) or not 0 < neuron.first - t < sum(pieces):
        return pieces
    ends = sorted({*accumulate(pieces), neuron.first - t})
    return [end - begin for begin, end in pairwise([0, *ends])]
