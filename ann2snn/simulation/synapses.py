"""The weights of a layer, packed in the order of `layer.c`."""

from typing import Any

import torch
from torch import Tensor, nn

from ann2snn.simulation.spikes import Spikes

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

    def of_input(self, x: Spikes | Tensor) -> dict[str, Any]:
        """The arguments of `layer.c` for an input (B, C, H, W) or (B, C)."""
        (height, width), size = x.shape[2:] if len(x.shape) == 4 else (1, 1), self.size(x.shape)
        spikes = isinstance(x, Spikes)
        given = {"spikes": in_order(x.counts), "most": x.most} if spikes else {"values": in_order(x), "most": 1}
        sizes = {"height": height, "width": width, "out_height": size[0], "out_width": size[1]}
        return self.values | given | sizes

    def shape(self, shape: torch.Size) -> torch.Size:
        """The shape of the current for inputs (B, C, H, W) or (B, C)."""
        return torch.Size((shape[0], self.channels, *(self.size(shape) if len(shape) == 4 else ())))

    def size(self, shape: torch.Size) -> tuple[int, int]:
        """(height, width) of the output for inputs (B, C, H, W) or (B, C)."""
        if len(shape) == 2:
            return 1, 1
        reach = [d * (k - 1) for d, k in zip(self.place["dilation"], self.kernel, strict=True)]
        sides = zip(shape[2:], self.place["padding"], reach, self.place["stride"], strict=True)
        height, width = ((n + 2 * p - r - 1) // s + 1 for n, p, r, s in sides)
        return height, width


def in_order(tensor: Tensor) -> Tensor:
    """Channels last."""
    return tensor.contiguous(memory_format=layout(tensor.dim()))


def layout(dims: int) -> torch.memory_format:
    return torch.channels_last if dims == 4 else torch.contiguous_format
