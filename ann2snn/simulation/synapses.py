"""Weights of a layer, packed for `layer.c`."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ann2snn.simulation.spikes import Spikes, is_per_channel

LANES = 16  # floats in a vector of layer.c
WIDE = 4 * LANES


class Geometry(NamedTuple):
    """Height and width of a kernel and of its steps; a linear layer is a convolution of one pixel."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(cls, layer: nn.Conv2d | nn.Linear) -> "Geometry":
        if isinstance(layer, nn.Linear):
            return cls((1, 1))
        pairs = (getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation"))
        return cls(*map(tuple, pairs), layer.groups)  # type: ignore

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for those of the input."""
        extents = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
        sides = zip(size, self.padding, extents, self.stride, strict=True)
        height, width = ((n + 2 * p - extent - 1) // s + 1 for n, p, extent, s in sides)
        return height, width


def choose_kernel(geometry: Geometry, out_channels: int, has_spikes: bool) -> tuple[bool, int]:
    """Which of the loops in `layer.c` computes a layer.

    Returns:
        Whether it is a SQUARE_CONV, and the number of output channels in a tile.
    """
    has_square_kernel = geometry.groups == 1 and geometry.kernel in ((1, 1), (3, 3))
    has_unit_steps = geometry.stride == geometry.dilation == (1, 1)
    has_square_padding = geometry.padding[0] == geometry.padding[1] < geometry.kernel[0]
    is_square = has_square_kernel and has_unit_steps and has_square_padding
    if geometry.groups > 1 or not has_spikes:
        return is_square, WIDE
    narrow, wide = (2 * LANES, WIDE) if geometry.kernel == (1, 1) else (LANES, 2 * LANES)
    return is_square, LANES if out_channels <= narrow else wide


class Synapses:
    """A convolution or linear layer, with weights as tiles of output channels x input channels x taps x a tile."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, amplitude: Tensor | None):
        """`amplitude` (in_channels,), that of the input spikes, scales the weights; None if the input is no spikes."""
        self.geometry = Geometry.of(layer)
        weight = layer.weight.detach()
        if isinstance(layer, nn.Linear):
            weight = weight[:, :, None, None]
        if amplitude is not None:
            weight = weight * amplitude.reshape((-1, 1, 1, 1) if self.geometry.groups > 1 else (-1, 1, 1))
        self.out_channels, channels, *kernel = weight.shape
        is_square, tile = choose_kernel(self.geometry, self.out_channels, amplitude is not None)
        if is_square:
            weight = weight.flip(2, 3)  # taps in the order of the outputs that an input contributes to
        tiles = -(-self.out_channels // tile)
        weights = weight.new_zeros(tiles * tile, channels, *kernel)
        weights[: self.out_channels] = weight
        bias = weight.new_zeros(tiles * tile)
        if layer.bias is not None:
            bias[: self.out_channels] = layer.bias.detach()
        self.layer_arguments = {
            **self.geometry._asdict(), "channels": channels, "out_channels": self.out_channels,
            "is_square": is_square, "tile": tile, "bias": bias,
            "weights": weights.reshape(tiles, tile, channels, *kernel).permute(0, 2, 3, 4, 1).contiguous(),
        }  # fmt: skip

    def arguments(self, x: Spikes | Tensor) -> dict[str, Any]:
        """The arguments of `layer.c` for an input (B, C, H, W) or (B, C)."""
        height, width = x.shape[2:] if len(x.shape) == 4 else (1, 1)
        out_height, out_width = self.output_size(x.shape)
        if isinstance(x, Spikes):
            values = {"spikes": to_channels_last(x.counts), "max_count": x.max_count}
        else:
            values = {"values": to_channels_last(x), "max_count": 1}
        sizes = {"height": height, "width": width, "out_height": out_height, "out_width": out_width}
        return self.layer_arguments | values | sizes

    def shape(self, shape: torch.Size) -> torch.Size:
        """Shape of the current for inputs of shape (B, C, H, W) or (B, C)."""
        return torch.Size((shape[0], self.out_channels, *(self.output_size(shape) if len(shape) == 4 else ())))

    def output_size(self, shape: torch.Size) -> tuple[int, int]:
        """Height and width of the current for inputs of shape (B, C, H, W) or (B, C)."""
        return self.geometry.output_size((shape[2], shape[3])) if len(shape) == 4 else (1, 1)


def synapses_for(layer: nn.Conv2d | nn.Linear, x: Spikes | Tensor) -> Synapses | None:
    """A layer in compiled code for such inputs, or None if `layer.c` has none that is faster than PyTorch.

    On spikes it has all linear layers, and convolutions with one group or one per channel. On other inputs it has
    1x1 convolutions.
    """
    is_spikes = isinstance(x, Spikes)
    if isinstance(layer, nn.Conv2d):
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            return None
        is_depthwise = layer.groups == layer.in_channels == layer.out_channels
        if is_spikes:
            is_supported = is_per_channel(x.amplitude) and (layer.groups == 1 or is_depthwise)
        else:
            is_pointwise = layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0)
            is_supported = layer.groups == 1 and is_pointwise and layer.out_channels > 2 * LANES
        if not is_supported:
            return None
    elif not is_spikes or len(x.shape) != 2:
        return None
    return Synapses(layer, x.amplitude.reshape(-1).expand(x.shape[1]) if is_spikes else None)


def to_channels_last(tensor: Tensor) -> Tensor:
    """A contiguous copy in channels-last order, or the tensor itself if it has that order."""
    return tensor.contiguous(memory_format=memory_format(tensor.dim()))


def memory_format(dims: int) -> torch.memory_format:
    """Channels last for images, else contiguous."""
    return torch.channels_last if dims == 4 else torch.contiguous_format
