"""The synapses of a layer, in the order of `layer.c`."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ann2snn.simulation import native
from ann2snn.simulation.spikes import Spikes, by_channel

LANES = 16  # of a vector in layer.c
WIDE = 4 * LANES


class Synapses:
    """The weights of a convolution or linear layer: tiles of output channels x input channels x taps x a tile."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, amplitude: Tensor | None):
        """`amplitude` (in_channels,), what a spike is worth, goes into the weights; None where no spikes come in."""
        weight, self.groups, place = layer.weight.detach(), 1, {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        if isinstance(layer, nn.Conv2d):
            self.groups, place = layer.groups, {name: tuple(getattr(layer, name)) for name in place}
        else:
            weight = weight[:, :, None, None]
        if amplitude is not None:
            weight = weight * amplitude.reshape((-1, 1, 1, 1) if self.groups > 1 else (-1, 1, 1))
        out, channels, *kernel = weight.shape
        even = place["stride"] == place["dilation"] == (1, 1) and place["padding"][0] == place["padding"][1] < kernel[0]
        square = self.groups == 1 and even and kernel in ([1, 1], [3, 3])
        if square:
            weight = weight.flip(2, 3)  # from the pixel that spikes to those that hear it
        if self.groups > 1 or amplitude is None:
            tile = WIDE
        else:
            narrow, wide = (2 * LANES, WIDE) if kernel == [1, 1] else (LANES, 2 * LANES)
            tile = LANES if out <= narrow else wide
        tiles = -(-out // tile)
        padded = weight.new_zeros(tiles * tile, channels, *kernel)
        padded[:out] = weight
        bias = weight.new_zeros(tiles * tile)
        if layer.bias is not None:
            bias[:out] = layer.bias.detach()
        self.channels, self.place, self.kernel = out, place, tuple(kernel)
        self.values = {
            **place, "kernel": self.kernel, "groups": self.groups, "channels": channels, "out_channels": out,
            "square": square, "tile": tile, "bias": bias,
            "weights": padded.reshape(tiles, tile, channels, *kernel).permute(0, 2, 3, 4, 1).contiguous(),
        }  # fmt: skip

    def size(self, shape: torch.Size) -> tuple[int, int]:
        """(height, width) of the output for inputs (B, C, H, W) or (B, C)."""
        if len(shape) == 2:
            return 1, 1
        reach = [d * (k - 1) for d, k in zip(self.place["dilation"], self.kernel, strict=True)]
        sides = zip(shape[2:], self.place["padding"], reach, self.place["stride"], strict=True)
        height, width = ((n + 2 * p - r - 1) // s + 1 for n, p, r, s in sides)
        return height, width


class Current:
    """What synapses make of their input (B, ...), not computed before someone asks for it."""

    def __init__(self, synapses: Synapses, x: Spikes | Tensor):
        self.synapses, self.x = synapses, x
        images, most = len(x.shape) == 4, 1
        if isinstance(x, Spikes):
            self.source, self.input, most = "spikes", in_order(x.counts), x.most
        else:
            self.source, self.input = "values", in_order(x)
        (height, width), size = x.shape[2:] if images else (1, 1), synapses.size(x.shape)
        self.shape = torch.Size((len(self.input), synapses.channels, *(size if images else ())))
        self.values = synapses.values | {self.source: self.input, "most": most}
        self.values |= {"height": height, "width": width, "out_height": size[0], "out_width": size[1]}

    @cached_property
    def dense(self) -> Tensor:
        out = torch.empty(self.shape, memory_format=layout(len(self.shape)))
        native.run(steps=1, images=len(self.input), out_current=out, **self.values)
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


def in_order(tensor: Tensor) -> Tensor:
    """Channels last."""
    return tensor.contiguous(memory_format=layout(tensor.dim()))


def layout(dims: int) -> torch.memory_format:
    return torch.channels_last if dims == 4 else torch.contiguous_format
