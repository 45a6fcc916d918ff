"""Spike trains of a whole network, one layer after the other: what methods that calibrate their neurons look at.

The trains of a layer are kept as bits until the last layer that hears them is done, so that T steps of N images cost
N x T / 8 bytes for a unit. What lies between two layers of neurons is computed anew whenever it is asked for; what lies
before the first ones, the images among it, is kept.
"""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ann2snn.calibration.images import check_images
from ann2snn.conversion.neurons import Neuron
from ann2snn.progress import track
from ann2snn.simulation import simulate
from ann2snn.simulation.currents import dense
from ann2snn.simulation.plan import Block, Plan
from ann2snn.simulation.spikes import Spikes


def layer_by_layer(snn: fx.GraphModule, images: Tensor, T: int, visit: Callable[[Neuron, "Train"], None]) -> None:
    """Runs `snn` for T steps on images (N, C, H, W): all steps of a layer before the first of the next one.

    `visit(neuron, train)` is called for every layer of neurons before its spikes are passed on, and may change the
    neuron (its thresholds, shifts, start): the layers after it hear what it then does.
    """
    _Network(snn, check_images(snn, images), T).walk(visit)


class Train:
    """What one layer of neurons receives, and what it makes of that, over T steps of all images."""

    def __init__(self, network: "_Network", node: fx.Node):
        self.network, self.node, self.T, self.images = network, node, network.T, len(network.images)

    def currents(self) -> Iterator[tuple[int, Tensor]]:
        """(t, currents (steps, B, ...) from the step t on, counted from 0): some images after the others."""
        for first, _, (steps, size), current, extra in self.network.inputs(self.node):
            total = _still(current, steps, size)
            total = total if extra is None else total + _still(extra, steps, size)
            yield first, total.unflatten(0, (steps, size))

    def spikes(self) -> Iterator[tuple[int, Tensor]]:
        """The same of the spikes that the neuron emits, as it is now: (steps, B, ...) in units of the activation."""
        for first, shape, emitted in self.network.outputs(self.node):
            yield first, dense(emitted).unflatten(0, shape)

    def mean(self) -> Tensor:
        """(C, H, W) or (F,): the mean output of every unit over steps and images, as the neuron is now."""
        return sum(spikes.sum((0, 1), dtype=torch.double) for _, spikes in self.spikes()) / (self.T * self.images)  # type: ignore


class _Network:
    def __init__(self, snn: fx.GraphModule, images: Tensor, T: int):
        self.plan, self.T = Plan(snn), T
        assert not self.plan.whole, "neurons that take a whole train have no steps to look at"
        self.images = images.to(next(snn.parameters()))
        with torch.inference_mode():
            size = simulate.batch_for(Plan(snn).units(self.images[:1]), self.images.device.type)
            self.parts = [self.plan.begin(part) for part in self.images.split(size)]
        self.kept: dict[fx.Node, _Bits | list[Tensor]] = {}  # a value for each block of each part

    def walk(self, visit: Callable[[Neuron, Train], None]) -> None:
        layers = list(self.plan.emitters)
        hears = {node: self.plan.emitters.keys() & self.between(node) for node in layers}
        with torch.no_grad():
            for place, node in enumerate(layers):
                if isinstance(module := self.plan.modules[node], Neuron):
                    visit(module, Train(self, node))
                needed = set().union(*(hears[n] for n in layers[place + 1 :]))
                if node in needed and isinstance(module, Neuron):
                    self.kept[node] = self.bits(node)
                elif node in needed:
                    self.kept[node] = [dense(emitted) for _, _, emitted in self.outputs(node)]
                self.kept = {n: kept for n, kept in self.kept.items() if n in needed}

    def bits(self, node: fx.Node) -> "_Bits":
        """All that a layer of neurons fires."""
        found, blocks = None, len(self.parts) * -(-self.T // simulate.BLOCK)
        for _, _, emitted in self.outputs(node):
            fired = emitted.counts if isinstance(emitted, Spikes) else emitted != 0
            if found is None:  # a block begins with a whole byte
                found = _Bits(len(self.images) * self.T * fired[0].numel() // 8 + blocks, fired.device)
            found.append(fired)
        assert found is not None
        return found

    def inputs(self, node: fx.Node):
        """(first step, index of the block, (steps, images), current, extra): part after part, block after block."""
        between, layers = self.between(node), list(self.plan.emitters)
        blocks = list(product(self.parts, range(0, self.T, simulate.BLOCK)))
        label = f"layer {layers.index(node) + 1} of {len(layers)}"
        for index, (once, first) in enumerate(track(blocks, label)):
            steps, size = min(simulate.BLOCK, self.T - first), len(next(iter(once.values())))
            env = Block(once, self.plan.images, steps)
            for n in between:
                env[n] = self.train(n, index) if n in self.kept else self.plan.value(n, env)
            current, extra = self.plan.currents(node, env, size)
            yield first, index, (steps, size), current, extra

    def outputs(self, node: fx.Node):
        """(first step, (steps, images), spikes) of a layer of neurons, or what a pool emits."""
        layer = None
        for first, _, (steps, size), current, extra in self.inputs(node):
            if first == 0:
                layer = self.plan.start(node, current, size)
            emitted, _ = layer.run(current, extra, [steps], 0)  # type: ignore
            yield first, (steps, size), emitted

    def between(self, node: fx.Node) -> list[fx.Node]:
        """The nodes from the layers of neurons before, these included, to this one, in order."""
        found, stack = set(), list(node.all_input_nodes)
        while stack:
            if (n := stack.pop()) in found or n in self.parts[0]:
                continue
            found.add(n)
            stack += [] if n in self.plan.emitters else n.all_input_nodes
        return [n for n in self.plan.snn.graph.nodes if n in found and n not in self.plan.sums]

    def train(self, node: fx.Node, index: int) -> Spikes | Tensor:
        kept = self.kept[node]
        return Spikes(kept[index], self.plan.modules[node].v_th) if isinstance(kept, _Bits) else kept[index]  # type: ignore


class _Bits:
    """Spikes of a layer with a bit for each, block after block, every block in memory order.

    They lie in one piece: many small ones would leave holes between what comes and goes, as large as the bytes.
    """

    def __init__(self, size: int, device: torch.device):
        """`size`: bytes, of all blocks."""
        self.bits, self.blocks = torch.empty(size, dtype=torch.uint8, device=device), []
        self.last = device.type == "cpu"  # channels, in memory

    def append(self, fired: Tensor) -> None:
        """(B, ...) of zeros and ones."""
        ordered = fired.movedim(1, -1) if self.last else fired
        packed = _packed(ordered.reshape(-1))
        begin = self.blocks[-1][1] if self.blocks else 0
        self.bits[begin : begin + len(packed)] = packed
        self.blocks.append((begin, begin + len(packed), ordered.shape))

    def __getitem__(self, index: int) -> Tensor:
        begin, end, shape = self.blocks[index]
        ordered = _unpacked(self.bits[begin:end], shape.numel()).reshape(shape)
        return ordered.movedim(-1, 1) if self.last else ordered


def _packed(flat: Tensor) -> Tensor:
    """(n,) of zeros and ones -> ceil(n / 8) bytes, on the same device."""
    if flat.device.type == "cpu":
        return torch.from_numpy(np.packbits(flat.numpy(), bitorder="little"))
    eights = F.pad(flat.to(torch.uint8), (0, -len(flat) % 8)).reshape(-1, 8)
    return (eights << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(1, dtype=torch.uint8)


def _unpacked(bits: Tensor, n: int) -> Tensor:
    """(n,) uint8 of zeros and ones."""
    if bits.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(bits.numpy(), count=n, bitorder="little"))
    return (bits[:, None] >> torch.arange(8, dtype=torch.uint8, device=bits.device) & 1).reshape(-1)[:n]


def _still(current, steps: int, size: int) -> Tensor:
    """The current of a block (steps * B, ...), also where it is the same at every step."""
    current = dense(current)
    return current.repeat(steps, *[1] * (current.dim() - 1)) if len(current) == size != steps * size else current
