"""Values between the neurons: spikes as bytes, and the linear operations that keep them so."""

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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


def by_channel(value: Tensor) -> bool:
    """Whether a value that broadcasts over images (C, H, W) is the same at every place of a channel."""
    return value.dim() == 0 or (value.dim() == 3 and value.shape[1:] == (1, 1))


def apply(function, x: Spikes, *rest, **keywords) -> Spikes | None:
    """What a graph's function makes of spikes, where the result is spikes again; None where it is not."""
    if function is F.avg_pool2d and not keywords:
        return _sum_pool(x, *rest)
    if (
        getattr(function, "__name__", "") == "getitem"
        and by_channel(x.amplitude)
        and all(s == slice(None) for s in rest[0][:2])
    ):
        return Spikes(x.counts[rest[0]], x.amplitude, x.most)
    if function is F.pad and x.counts.dim() == 4 and by_channel(x.amplitude) and not keywords and len(rest) == 1:
        around = [0] * 4 + list(rest[0][4:6])
        return Spikes(F.pad(x.counts, rest[0]), F.pad(x.amplitude.expand(x.shape[1], 1, 1), around), x.most)
    if function is torch.reshape and len(rest[0]) == 2 and x.counts.dim() == 4:
        return Spikes(x.counts.reshape(rest[0]), x.amplitude.expand(x.shape[1:]).reshape(-1), x.most)
    return None


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
