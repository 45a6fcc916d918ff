"""`IF` layers on a GPU. One kernel runs all steps of a segment, reads every current once and writes every spike once.

Triton is part of PyTorch's GPU builds only, so import this module only where there is a GPU.
"""

from collections.abc import Callable

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from ann2snn.conversion.neurons import IF, hard
from ann2snn.simulation.segments import IFLayer
from ann2snn.simulation.spikes import is_per_channel

UNITS = 1024  # units per program of the kernel


@triton.jit
def if_steps(
    current, membrane, counts, out, v_th, shift,
    size, steps, current_step, v_inner, v_count, shift_inner, shift_count, shift_step,
    HARD: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Kernel: all steps of UNITS neurons."""
    i = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    mask = i < size
    m = tl.load(membrane + i, mask)
    v = tl.load(v_th + i // v_inner % v_count, mask)
    spikes = tl.load(counts + i, mask)
    shift += i // shift_inner % shift_count
    current += i
    out += i
    for _ in range(steps):
        m = m + tl.load(current, mask) + tl.load(shift, mask)
        fired = m >= v
        m = tl.where(fired, 0.0 if HARD else m - v, m)
        spikes += fired.to(spikes.dtype)
        tl.store(out, tl.where(fired, v, 0.0), mask)
        current += current_step
        out += size
        shift += shift_step
    tl.store(membrane + i, m, mask)
    tl.store(counts + i, spikes, mask)


class TritonIFLayer(IFLayer):
    """An `IF` layer on a batch of images, in a Triton kernel."""

    def __init__(self, neuron: IF, like: Tensor):
        """`like` (B, ...) is the current of one step."""
        super().__init__(neuron, like.shape)
        is_last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
        self.memory_format = torch.channels_last if is_last else torch.contiguous_format
        self.membrane = torch.empty_like(like, memory_format=self.memory_format).copy_(neuron.v_init.expand_as(like))
        self.counts = torch.zeros_like(like, dtype=torch.int16, memory_format=self.memory_format)
        self.v_th = self.layout(neuron.v_th[None])
        self.shift = None if self.is_time_varying else self.layout(neuron.shift[None])

    def layout(self, values: Tensor) -> tuple[Tensor, int]:
        """Values (k, ...) that broadcast over an image, as (k, n) in memory order.

        Returns:
            The values, and how many consecutive units share each of the n.
        """
        missing = len(self.shape) - values.dim()
        values = values.reshape(len(values), *[1] * missing, *values.shape[1:])
        if values[0].numel() == 1:
            return values.reshape(-1, 1), 1
        channels, *sides = self.shape[1:]
        is_last = self.memory_format is torch.channels_last
        if is_per_channel(values[0]):
            return values.reshape(-1, channels).contiguous(), 1 if is_last else torch.Size(sides).numel()
        units = values.expand(-1, *self.shape[1:])
        return (units.permute(0, 2, 3, 1) if is_last else units).reshape(len(values), -1).contiguous(), 1

    def begin(self, current: Tensor, residual: None, steps: int) -> tuple[Tensor, Callable[[int, int], None]]:
        current = current.contiguous(memory_format=self.memory_format)
        images, size = self.shape[0], self.membrane.numel()
        shape = (steps * images, *self.shape[1:])
        out = torch.empty(shape, device=current.device, memory_format=self.memory_format)
        is_constant = len(current) == images and steps > 1
        v_th, v_inner = self.v_th

        def run_segment(first: int, length: int) -> None:
            shift, shift_inner = self.shift or self.layout(
                torch.stack([self.neuron.shift_at(self.t + first + k) for k in range(length)])  # type: ignore
            )
            with torch.cuda.device_of(current):
                if_steps[(triton.cdiv(size, UNITS),)](
                    current if is_constant else current[first * images :],
                    self.membrane, self.counts, out[first * images :], v_th, shift,
                    size, length, 0 if is_constant else size,
                    v_inner, v_th.shape[1], shift_inner, shift.shape[1], shift.shape[1] if self.is_time_varying else 0,
                    HARD=self.neuron.reset is hard, UNITS=UNITS,  # type: ignore
                )  # fmt: skip

        return out, run_segment

    def events(self) -> Tensor:
        return self.counts.sum(0, dtype=torch.long)
