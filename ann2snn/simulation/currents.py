"""Input currents of a layer, computed on demand."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ann2snn.simulation import c_library
from ann2snn.simulation.spikes import Spikes, by_channel
from ann2snn.simulation.synapses import LANES, Synapses, layout


class Current:
    """What synapses make of their input (B, ...), not computed before someone asks for it."""

    def __init__(self, synapses: Synapses, x: Spikes | Tensor):
        self.synapses, self.x = synapses, x
        self.shape, self.values = synapses.shape(x.shape), synapses.of_input(x)
        self.source = "spikes" if isinstance(x, Spikes) else "values"
        self.input = self.values[self.source]

    @cached_property
    def dense(self) -> Tensor:
        out = torch.empty(self.shape, memory_format=layout(len(self.shape)))
        c_library.run(steps=1, images=len(self.input), out_current=out, **self.values)
        return out


Value = Tensor | Spikes | Current


class Currents:
    """The currents of a batch at all steps, (T, B, ...): the sum of one or two parts, computed where someone asks."""

    def __init__(self, parts: tuple[Value, Value | None], steps: int, size: int):
        """Each part (T * B, ...), or (B, ...) where it is the same at all steps."""
        self.parts, self.shape = parts, torch.Size((steps, size, *parts[0].shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, steps: slice) -> "Currents":
        (first, end, _), size = steps.indices(len(self)), self.shape[1]
        x, y = (p if p is None or p.shape[0] == size else _rows(p, first * size, end * size) for p in self.parts)
        assert x is not None
        return Currents((x, y), end - first, size)

    def __iter__(self) -> Iterator[Tensor]:
        """Step by step, (B, ...)."""
        for t in range(len(self)):
            x, y = self[t : t + 1].parts
            yield dense(x) if y is None else dense(x) + dense(y)


def _rows(value: Value, first: int, end: int) -> Any:
    if isinstance(value, Spikes):
        return Spikes(value.counts[first:end], value.amplitude, value.most)
    return Current(value.synapses, _rows(value.x, first, end)) if isinstance(value, Current) else value[first:end]


def dense(value) -> Any:
    if isinstance(value, list | tuple) and any(isinstance(v, Spikes | Current) for v in value):
        return [dense(v) for v in value]
    return value.dense if isinstance(value, Spikes | Current) else value


def synapses(layer: nn.Conv2d | nn.Linear, x: Spikes | Tensor) -> Synapses | None:
    """A layer for such inputs, where `layer.c` has it: on spikes all linear ones and convolutions of one group or one
    for each channel, else convolutions of one pixel."""
    spikes = isinstance(x, Spikes)
    if isinstance(layer, nn.Conv2d):
        one, depthwise = layer.groups == 1, layer.groups == layer.in_channels == layer.out_channels
        point = (
            layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0) and layer.out_channels > 2 * LANES
        )
        there = by_channel(x.amplitude) and (one or depthwise) if spikes else one and point
        if not there or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            return None
    elif not spikes or len(x.shape) != 2:
        return None
    return Synapses(layer, x.amplitude.reshape(-1).expand(x.shape[1]) if spikes else None)
