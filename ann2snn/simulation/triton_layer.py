"""`IF` layers on a GPU: a kernel takes all steps of a block at once, reads every current and writes every spike once.

Triton comes with PyTorch's builds for GPUs only, so import this where there is one.
"""

# pyright: reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false, reportMissingImports=false
# (a module's methods are typed as what its attributes may be, and a kernel's arguments as what Python passes)

from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

from ann2snn.conversion.neurons import IF, StagedIF, TimedIF, hard
from ann2snn.simulation.spikes import by_channel, cut

UNITS = 1024  # units that a program of the kernel takes


@triton.jit
def take_steps(
    current, membrane, counts, out, v_th, shift,
    size, steps, current_step, v_inner, v_count, shift_inner, shift_count, shift_step,
    HARD: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    here = i < size
    m = tl.load(membrane + i, here)
    v = tl.load(v_th + i // v_inner % v_count, here)
    spikes = tl.load(counts + i, here)
    shift += i // shift_inner % shift_count
    current += i
    out += i
    for _ in range(steps):
        m = m + tl.load(current, here) + tl.load(shift, here)
        fired = m >= v
        m = tl.where(fired, 0.0 if HARD else m - v, m)
        spikes += fired.to(spikes.dtype)
        tl.store(out, tl.where(fired, v, 0.0), here)
        current += current_step
        out += size
        shift += shift_step
    tl.store(membrane + i, m, here)
    tl.store(counts + i, spikes, here)


class Fused:
    """An `IF` layer on a batch of images."""

    def __init__(self, neuron: IF, like: Tensor):
        """`like` (B, ...): the current of one step."""
        last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.neuron, self.shape, self.t = neuron, like.shape, 0
        self.membrane = torch.empty_like(like, memory_format=self.layout).copy_(neuron.v_init.expand_as(like))
        self.counts = torch.zeros_like(like, dtype=torch.int16, memory_format=self.layout)
        self.v_th, self.timed = self.in_order(neuron.v_th[None]), isinstance(neuron, TimedIF)
        self.shift = None if self.timed else self.in_order(neuron.shift[None])

    def in_order(self, values: Tensor) -> tuple[Tensor, int]:
        """Values (k, ...) that broadcast over an image -> (k, n) in the order of memory, and how many units in a row
        share one of the n."""
        missing = len(self.shape) - values.dim()
        values = values.reshape(len(values), *[1] * missing, *values.shape[1:])
        if values[0].numel() == 1:
            return values.reshape(-1, 1), 1
        channels, *places = self.shape[1:]
        last = self.layout is torch.channels_last
        if by_channel(values[0]):
            return values.reshape(-1, channels).contiguous(), 1 if last else torch.Size(places).numel()
        units = values.expand(-1, *self.shape[1:])
        return (units.permute(0, 2, 3, 1) if last else units).reshape(len(values), -1).contiguous(), 1

    def run(self, current: Tensor, extra: None, pieces: list[int], reads: int) -> tuple[Tensor, list[Tensor]]:
        """Steps with the input `current` (steps * B, ...), or (B, ...) where it is the same in all.

        The steps are taken in `pieces` -> the spikes (steps * B, ...), and the events per unit so far after each of the
        first `reads` pieces.
        """
        current = current.contiguous(memory_format=self.layout)
        images, size = self.shape[0], self.membrane.numel()
        shape = (sum(pieces) * images, *self.shape[1:])
        out = torch.empty(shape, device=current.device, memory_format=self.layout)
        v_th, v_inner = self.v_th
        done, events, ends = 0, [], set(accumulate(pieces))
        for steps in cut(self.neuron, self.t, pieces):
            still = len(current) == images and sum(pieces) > 1
            here = current if still else current[done * images :]
            shift, inner = self.shift or self.in_order(
                torch.stack([self.neuron.shift_at(self.t + done + k) for k in range(steps)])
            )
            with torch.cuda.device_of(current):
                take_steps[(triton.cdiv(size, UNITS),)](
                    here, self.membrane, self.counts, out[done * images :], v_th, shift,
                    size, steps, 0 if still else size,
                    v_inner, v_th.shape[1], inner, shift.shape[1], shift.shape[1] if self.timed else 0,
                    HARD=self.neuron.reset is hard, UNITS=UNITS,
                )  # fmt: skip
            done += steps
            if isinstance(self.neuron, StagedIF):
                self.membrane.copy_(self.neuron.after(self.t + done, self.membrane))
            read = done in ends and len(events) < reads
            events += [self.counts.sum(0, dtype=torch.long)] if read else []
        self.t += done
        return out, events
