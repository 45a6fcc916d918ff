"""Input currents of a layer, computed on demand."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ann2snn.simulation import c_library
from ann2snn.simulation.spikes import Spikes
from ann2snn.simulation.synapses import Synapses, memory_format


class LazyCurrent:
    """The current (B, ...) of synapses on their input (B, ...), computed when `dense` is first read."""

    def __init__(self, synapses: Synapses, x: Spikes | Tensor):
        self.synapses, self.x = synapses, x
        self.shape, self.arguments = synapses.shape(x.shape), synapses.arguments(x)
        self.source = "spikes" if isinstance(x, Spikes) else "values"
        self.input = self.arguments[self.source]

    @cached_property
    def dense(self) -> Tensor:
        """The current as a tensor."""
        out = torch.empty(self.shape, memory_format=memory_format(len(self.shape)))
        c_library.run(steps=1, images=len(self.input), out_current=out, **self.arguments)
        return out


Value = Tensor | Spikes | LazyCurrent


class CurrentSequence:
    """The currents (T, B, ...) of a batch at all steps: one or two parts, added up when a step is read.

    It has the length, slices and iteration of a tensor.
    """

    def __init__(self, parts: tuple[Value, Value | None], steps: int, size: int):
        """A part is (T * B, ...), or (B, ...) if it is constant; `steps` is T, and `size` is B."""
        self.parts, self.shape = parts, torch.Size((steps, size, *parts[0].shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, steps: slice) -> "CurrentSequence":
        (first, end, _), size = steps.indices(len(self)), self.shape[1]
        x, y = (p if p is None or p.shape[0] == size else _rows(p, first * size, end * size) for p in self.parts)
        assert x is not None
        return CurrentSequence((x, y), end - first, size)

    def __iter__(self) -> Iterator[Tensor]:
        """The current (B, ...) of every step."""
        for t in range(len(self)):
            x, y = self[t : t + 1].parts
            yield dense(x) if y is None else dense(x) + dense(y)


def _rows(value: Value, first: int, end: int) -> Any:
    if isinstance(value, Spikes):
        return Spikes(value.counts[first:end], value.amplitude, value.max_count)
    if isinstance(value, LazyCurrent):
        return LazyCurrent(value.synapses, _rows(value.x, first, end))
    return value[first:end]


def dense(value) -> Any:
    """Spikes and lazy currents as tensors, also inside a list; other values unchanged."""
    if isinstance(value, list | tuple) and any(isinstance(v, Spikes | LazyCurrent) for v in value):
        return [dense(v) for v in value]
    return value.dense if isinstance(value, Spikes | LazyCurrent) else value
