"""Layers of neurons on a batch of images: in compiled code, or by the neuron's own `step` or `run`."""

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from ann2snn.conversion.neurons import IF, MultiStepNeuron, Neuron, hard, soft
from ann2snn.simulation import c_library
from ann2snn.simulation.backends import emits_byte_spikes, runs_natively
from ann2snn.simulation.currents import CurrentSequence, LazyCurrent, Value, dense
from ann2snn.simulation.segments import IFLayer
from ann2snn.simulation.spikes import Spikes, is_per_channel
from ann2snn.simulation.synapses import memory_format, to_channels_last

Emitted = Tensor | Spikes


class SingleStepModule(Protocol):
    """What `SingleStepLayer` needs of a module."""

    def init(self, current: Tensor, /) -> Any:
        """State before the first step, for a layer with such a current (B, ...)."""

    def step(self, state: Any, current: Tensor, /) -> tuple[Any, Tensor]:
        """Next state, and what the layer passes on (B, ...)."""
        ...


def spike_train_of(neuron: IF, currents: Tensor | CurrentSequence) -> Tensor:
    """Binary spike train (T, B, ...), bool, of `neuron` driven by `currents` (T, B, ...)."""
    if not runs_natively(neuron):
        return neuron.run(currents) != 0  # type: ignore[arg-type]
    _, spikes = _run(neuron, currents)
    return spikes.counts.view(torch.bool).unflatten(0, currents.shape[:2])


def spike_counts_of(neuron: IF, currents: Tensor, at: list[int]) -> list[Tensor]:
    """Numbers of spikes (B, ...) of `neuron` up to each step of `at`, driven by `currents` (T, B, ...)."""
    if not runs_natively(neuron):
        fired = (neuron.run(currents) != 0).cumsum(0)
        return [fired[t - 1] for t in at]
    layer, counts = NativeIFLayer(neuron, currents.shape[1:]), []
    for first, last in pairwise([0, *at]):
        layer.run(currents[first:last].flatten(0, 1), None, [last - first], 0)
        counts.append(layer.counts.clone())
    return counts


def integrate(neuron: MultiStepNeuron, currents: Tensor | CurrentSequence) -> Tensor:
    """`neuron.integrate(currents)`: membrane potentials (B, ...) after the `currents` (T, B, ...), without firing."""
    max_v_th = torch.full_like(neuron.v_th, torch.finfo(neuron.v_th.dtype).max)  # never reached
    integrator = IF(max_v_th, soft, neuron.shift, neuron.v_init)
    if runs_natively(integrator):
        return _run(integrator, currents)[0].membrane
    return neuron.integrate(currents)  # type: ignore[arg-type]


def _run(neuron: IF, currents: Tensor | CurrentSequence) -> tuple["NativeIFLayer", Spikes]:
    steps = currents.shape[0]
    layer = NativeIFLayer(neuron, currents.shape[1:])
    parts = currents.parts if isinstance(currents, CurrentSequence) else (currents.flatten(0, 1), None)
    return layer, layer.run(*parts, [steps], 0)[0]


class NativeIFLayer(IFLayer):
    """An `IF` layer on a batch of images, in the compiled code of `layer.c`."""

    def __init__(self, neuron: IF, shape: torch.Size):
        """`shape` (B, ...) is that of the current of one step."""
        super().__init__(neuron, shape)
        like = torch.empty(shape, memory_format=memory_format(len(shape)))
        self.membrane = like.copy_(neuron.v_init.expand(shape))
        self.counts = torch.empty(shape, dtype=torch.int16, memory_format=memory_format(len(shape))).zero_()
        self.arguments: dict = {"images": shape[0], "hard": neuron.reset is hard, "membrane": self.membrane}
        self.arguments["counts"] = self.counts
        channels = shape[1] if len(shape) == 4 else self.membrane[0].numel()
        height, width = shape[2:] if len(shape) == 4 else (1, 1)
        self.sizes = {"out_height": height, "out_width": width, "out_channels": channels, "tile": channels}
        self.set_parameter("v_th", neuron.v_th)
        if not self.is_time_varying:
            self.set_parameter("shift", neuron.shift)

    def set_parameter(self, name: str, value: Tensor) -> None:
        """Lay out a parameter of the neurons per channel, or per unit in memory order."""
        if len(self.shape) == 4 and is_per_channel(value):
            values, stride = value.reshape(-1).expand(self.shape[1]), 0
        else:
            values, stride = value.expand(self.shape[1:]), self.shape[1]
            values = values.permute(1, 2, 0) if len(self.shape) == 4 else values
        self.arguments[name] = values.contiguous()
        self.arguments[f"{name}_stride"] = stride

    def split(self, segments: list[int]) -> list[int]:
        return [1] * sum(segments) if self.is_time_varying else super().split(segments)

    def begin(self, current: Value, residual: Value | None, steps: int) -> tuple[Spikes, Callable[[int, int], None]]:
        images, size = self.shape[0], self.membrane.numel()
        inputs: dict[str, Tensor] = {}  # of all steps, or of one where they are constant
        if isinstance(current, LazyCurrent):
            layer = current.arguments
            inputs[current.source] = current.input
        else:
            layer = self.sizes
            inputs["current"] = to_channels_last(dense(current))
        if isinstance(residual, Spikes):
            if "amplitude" not in self.arguments:
                self.set_parameter("amplitude", residual.amplitude)
            inputs["residual_spikes"] = to_channels_last(residual.counts)
        elif residual is not None:
            inputs["residual"] = to_channels_last(residual.dense if isinstance(residual, LazyCurrent) else residual)
        shape = (steps * images, *self.shape[1:])
        out = torch.empty(shape, dtype=torch.uint8, memory_format=memory_format(len(shape)))
        arguments = self.arguments | layer

        def run_segment(first: int, length: int) -> None:
            if self.is_time_varying:
                self.set_parameter("shift", self.neuron.shift_at(self.t + first))  # type: ignore
                arguments.update((name, self.arguments[name]) for name in ("shift", "shift_stride"))
            for name, tensor in inputs.items():
                is_constant = len(tensor) == images and steps > 1
                arguments[name] = tensor if is_constant else tensor[first * images :]
                stride = "residual_stride" if "residual" in name else "current_stride"
                arguments[stride] = 0 if is_constant else size
            c_library.run(steps=length, out=out[first * images :], **arguments)

        return Spikes(out, self.neuron.v_th), run_segment

    def events(self) -> Tensor:
        return sum_over_images(self.counts)


class SingleStepLayer:
    """A layer that runs by its module's own `step`: a neuron of any kind, or a max-pool."""

    def __init__(self, module: SingleStepModule, like: Tensor):
        """`like` (B, ...) is the current of one step."""
        self.module, self.size, self.state = module, len(like), module.init(like)
        self.counts: Tensor | None = None

    def run(self, current: Tensor, residual: None, segments: list[int], reads: int) -> tuple[Tensor, list[Tensor]]:
        """See `IFLayer.run`; a constant current is repeated for every step."""
        currents, out, events = iter(current.split(self.size)), [], []
        for steps in segments:
            for _ in range(steps):
                self.state, emitted = self.module.step(self.state, next(currents))
                out.append(emitted)
                if self.counts is None:
                    self.counts = torch.zeros_like(emitted, dtype=torch.int16)
                self.counts += emitted != 0
            if self.counts is not None and len(events) < reads:
                events.append(sum_over_images(self.counts))
        return torch.cat(out) if len(out) > 1 else out[0], events


class MultiStepLayer:
    """A layer that receives all steps at once: by its `spike_train` where spikes can be bytes, else by its `run`."""

    def __init__(self, neuron: Neuron, size: int):
        """`size` is the number of images B."""
        self.neuron: Any = neuron
        self.size = size

    def run(
        self, current: Value, residual: Value | None, segments: list[int], reads: int
    ) -> tuple[Emitted, list[Tensor]]:
        """See `IFLayer.run`; the block is the whole simulation."""
        neuron, steps = self.neuron, sum(segments)
        if emits_byte_spikes(neuron):
            fired = neuron.spike_train(CurrentSequence((current, residual), steps, self.size))  # type: ignore[arg-type]
            emitted = Spikes(fired.flatten(0, 1).view(torch.uint8), neuron.spike_amplitude)
        else:
            spikes = neuron.run(dense(current).unflatten(0, (steps, -1)))
            fired, emitted = spikes != 0, spikes.flatten(0, 1)
        counts, events = torch.zeros_like(fired[0], dtype=torch.int16), []
        for segment in fired.view(torch.uint8).split(segments):
            for part in segment.split(255):  # sums of so many bytes fit into a byte
                counts += functools.reduce(Tensor.add_, part[1:], part[0].clone())
            events.append(sum_over_images(counts))
        return emitted, events


def sum_over_images(counts: Tensor) -> Tensor:
    """Sum over the images of (B, ...), int64. Images (B, C, H, W) are summed in memory order, 20 times as fast."""
    if counts.dim() != 4:
        return counts.sum(0, dtype=torch.long)
    ordered = counts.permute(0, 2, 3, 1).flatten(1).sum(0, dtype=torch.long)
    return ordered.unflatten(0, (*counts.shape[2:], counts.shape[1])).permute(2, 0, 1)
