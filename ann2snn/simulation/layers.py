"""Layers while they run: compiled ones, which take many steps of a batch at once (on a GPU: `fused.py`); others by
their `step` or `run`.
"""


# pyright: reportCallIssue=false, reportArgumentType=false
# (a module's methods are typed as what its attributes may be)

import functools
from itertools import accumulate

import torch
from torch import Tensor, nn

from ann2snn.conversion.neurons import IF, Neuron, StagedIF, TimedIF, WholeTrain, hard, soft
from ann2snn.simulation import c_library
from ann2snn.simulation.backends import compiled, in_bytes
from ann2snn.simulation.currents import Current, Currents, Value, dense
from ann2snn.simulation.spikes import Spikes, by_channel, cut
from ann2snn.simulation.synapses import in_order, layout

Emitted = Tensor | Spikes


def fired_by(neuron: IF, currents: Tensor | Currents) -> Tensor:
    """When a neuron fires that hears `currents` (T, B, ...): (T, B, ...) of bool."""
    if not compiled(neuron):
        return neuron.run(currents) != 0
    _, spikes = _run(neuron, currents)
    return spikes.counts.view(torch.bool).unflatten(0, currents.shape[:2])


def heard_by(neuron: WholeTrain, currents: Tensor | Currents) -> Tensor:
    """What a neuron has heard in the end: `neuron.heard(currents)` (B, ...), by one that never fires."""
    deaf = IF(torch.full_like(neuron.v_th, torch.finfo(neuron.v_th.dtype).max), soft, neuron.shift, neuron.v_init)
    return _run(deaf, currents)[0].membrane if compiled(deaf) else neuron.heard(currents)


def _run(neuron: IF, currents: Tensor | Currents) -> tuple["Compiled", Spikes]:
    steps, size = currents.shape[:2]
    layer = Compiled(neuron, currents.shape[1:])
    parts = currents.parts if isinstance(currents, Currents) else (currents.flatten(0, 1), None)
    return layer, layer.run(*parts, [steps], 0)[0]


class Compiled:
    """An `IF` layer on a batch of images."""

    def __init__(self, neuron: IF, shape: torch.Size):
        """`shape` (B, ...): of the current of one step."""
        self.neuron, self.shape = neuron, shape
        like = torch.empty(shape, memory_format=layout(len(shape)))
        self.membrane = like.copy_(neuron.v_init.expand(shape))
        self.counts = torch.empty(shape, dtype=torch.int16, memory_format=layout(len(shape))).zero_()
        self.values: dict = {"images": shape[0], "hard": neuron.reset is hard, "membrane": self.membrane}
        self.values["counts"] = self.counts
        channels = shape[1] if len(shape) == 4 else self.membrane[0].numel()
        height, width = shape[2:] if len(shape) == 4 else (1, 1)
        self.given = {"out_height": height, "out_width": width, "out_channels": channels, "tile": channels}
        self.broadcast("v_th", neuron.v_th)
        self.timed, self.t = isinstance(neuron, TimedIF), 0
        if not self.timed:
            self.broadcast("shift", neuron.shift)

    def broadcast(self, name: str, value: Tensor) -> None:
        """A value for every channel, or for every unit in memory order."""
        if len(self.shape) == 4 and by_channel(value):
            self.values[name], self.values[f"{name}_stride"] = value.reshape(-1).expand(self.shape[1]).contiguous(), 0
        else:
            units = value.expand(self.shape[1:])
            units = units.permute(1, 2, 0) if len(self.shape) == 4 else units
            self.values[name], self.values[f"{name}_stride"] = units.contiguous(), self.shape[1]

    def run(self, current: Value, extra: Value | None, pieces: list[int], reads: int) -> tuple[Spikes, list[Tensor]]:
        """Steps with the input `current` + `extra`, each (steps * B, ...), or (B, ...) where it is the same in all.

        The steps are taken in `pieces` -> the spikes (steps * B, ...), and the events per unit so far after each of the
        first `reads` pieces.
        """
        values, size = dict(self.values), self.membrane.numel()
        moving: dict[str, Tensor] = {}
        if isinstance(current, Current):
            values |= current.values
            moving[current.source] = current.input
        else:
            values |= self.given
            moving["current"] = in_order(current)
        if isinstance(extra, Spikes):
            if "worth" not in self.values:
                self.broadcast("worth", extra.amplitude)
                values |= self.values
            moving["extra_spikes"] = in_order(extra.counts)
        elif extra is not None:
            moving["extra"] = in_order(extra.dense if isinstance(extra, Current) else extra)
        shape = (sum(pieces) * self.shape[0], *self.shape[1:])
        out = torch.empty(shape, dtype=torch.uint8, memory_format=layout(len(shape)))
        done, events, ends = 0, [], set(accumulate(pieces))
        for steps in [1] * sum(pieces) if self.timed else cut(self.neuron, self.t, pieces):
            if self.timed:
                self.broadcast("shift", self.neuron.shift_at(self.t + done))  # type: ignore
                values |= {name: self.values[name] for name in ("shift", "shift_stride")}
            for name, tensor in moving.items():
                still = len(tensor) == self.shape[0] and sum(pieces) > 1
                values[name] = tensor if still else tensor[done * self.shape[0] :]
                values["extra_stride" if "extra" in name else "current_stride"] = 0 if still else size
            c_library.run(steps=steps, out=out[done * self.shape[0] :], **values)
            done += steps
            if isinstance(self.neuron, StagedIF):
                self.membrane.copy_(self.neuron.after(self.t + done, self.membrane))
            events += [self.events()] if done in ends and len(events) < reads else []
        self.t += done
        return Spikes(out, self.neuron.v_th), events

    def events(self) -> Tensor:
        """Spikes so far per unit, summed over the images."""
        return over_images(self.counts)


class Eager:
    """A layer that is run by its own `step`: a neuron of any kind, or a max-pool."""

    def __init__(self, module: nn.Module, like: Tensor):
        """`like` (B, ...): the current of one step."""
        self.module, self.size, self.state, self.counts = module, len(like), module.init(like), None

    def run(self, current: Tensor, extra: None, pieces: list[int], reads: int) -> tuple[Tensor, list[Tensor]]:
        currents, out, events = iter(current.split(self.size)), [], []
        for steps in pieces:
            for _ in range(steps):
                self.state, emitted = self.module.step(self.state, next(currents))
                out.append(emitted)
                if self.counts is None:
                    self.counts = torch.zeros_like(emitted, dtype=torch.int16)
                self.counts += emitted != 0
            events += [over_images(self.counts)] if len(events) < reads else []
        return torch.cat(out) if len(out) > 1 else out[0], events


class Whole:
    """A layer that takes the whole train of a batch: by its `fired` where spikes are bytes, else by its `run`."""

    def __init__(self, neuron: Neuron, size: int):
        self.neuron, self.size = neuron, size

    def run(self, current: Value, extra: Value | None, pieces: list[int], reads: int) -> tuple[Emitted, list[Tensor]]:
        neuron, steps = self.neuron, sum(pieces)
        if in_bytes(neuron):
            fired = neuron.fired(Currents((current, extra), steps, self.size))
            emitted = Spikes(fired.flatten(0, 1).view(torch.uint8), neuron.worth)
        else:
            spikes = neuron.run(dense(current).unflatten(0, (steps, -1)))
            fired, emitted = spikes != 0, spikes.flatten(0, 1)
        counts, events = torch.zeros_like(fired[0], dtype=torch.int16), []
        for piece in fired.view(torch.uint8).split(pieces):
            for few in piece.split(255):
                counts += functools.reduce(Tensor.add_, few[1:], few[0].clone())
            events.append(over_images(counts))
        return emitted, events


def over_images(counts: Tensor) -> Tensor:
    """Summed over the images (B, ...); in memory order, where that is twenty times faster."""
    if counts.dim() != 4:
        return counts.sum(0, dtype=torch.long)
    ordered = counts.permute(0, 2, 3, 1).flatten(1).sum(0, dtype=torch.long)
    return ordered.unflatten(0, (*counts.shape[2:], counts.shape[1])).permute(2, 0, 1)
