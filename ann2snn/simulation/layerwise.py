"""Layer-by-layer simulation, for methods that calibrate neurons on the spikes of the layers before them.

The spikes of a layer are stored as bits until the last layer that receives them is done: N images and T steps take
N x T / 8 bytes per unit. Values between two layers of neurons are computed again for every use. Values before the
first layer, the images among them, are stored.
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
from ann2snn.simulation.plan import BlockValues, Plan
from ann2snn.simulation.spikes import Spikes


def layer_by_layer(snn: fx.GraphModule, images: Tensor, T: int, visit: Callable[[Neuron, "LayerTrace"], None]) -> None:
    """Run a converted network one layer after the other, each for all T steps.

    Args:
        snn: The converted network.
        images: (N, C, H, W).
        T: Number of steps.
        visit: `visit(neuron, trace)` is called for every layer of neurons, in forward order. It may change the
            thresholds, shifts and start potentials of the neuron. The layers after it receive the spikes of the
            changed neuron.
    """
    _Network(snn, check_images(snn, images), T).walk(visit)


class LayerTrace:
    """Input currents and spikes of one layer of neurons over T steps of all images.

    Attributes:
        T: Number of steps.
        images: Number of images.
    """

    def __init__(self, network: "_Network", node: fx.Node):
        self.network, self.node, self.T, self.images = network, node, network.T, len(network.images)

    def currents(self) -> Iterator[tuple[int, Tensor]]:
        """Blocks of input currents.

        Yields:
            The first step of the block, counted from 0, and its currents (steps, B, ...). All blocks of one batch of
            images come before those of the next.
        """
        for first, _, (steps, size), current, residual in self.network.inputs(self.node):
            total = _at_every_step(current, steps, size)
            total = total if residual is None else total + _at_every_step(residual, steps, size)
            yield first, total.unflatten(0, (steps, size))

    def spikes(self) -> Iterator[tuple[int, Tensor]]:
        """Blocks of spikes (steps, B, ...) of the neuron in its present state, in units of the activation."""
        for first, shape, emitted in self.network.outputs(self.node):
            yield first, dense(emitted).unflatten(0, shape)

    def mean(self) -> Tensor:
        """Mean output of every unit over steps and images, (C, H, W) or (F,), of the neuron in its present state."""
        return sum(spikes.sum((0, 1), dtype=torch.double) for _, spikes in self.spikes()) / (self.T * self.images)  # type: ignore


class _Network:
    def __init__(self, snn: fx.GraphModule, images: Tensor, T: int):
        self.plan, self.T = Plan(snn), T
        assert not self.plan.has_multi_step, "multi-step neurons have no single steps to trace"
        self.images = images.to(next(snn.parameters()))
        with torch.inference_mode():
            size = simulate.batch_for(Plan(snn).units(self.images[:1]), self.images.device.type)
            self.batches = [self.plan.static_values(part) for part in self.images.split(size)]
        self.stored: dict[fx.Node, PackedSpikes | list[Tensor]] = {}  # the output of a layer, block after block

    def walk(self, visit: Callable[[Neuron, LayerTrace], None]) -> None:
        layers = list(self.plan.spiking_nodes)
        inputs = {node: self.plan.spiking_nodes.keys() & self.nodes_before(node) for node in layers}
        with torch.no_grad():
            for k, node in enumerate(layers):
                module = self.plan.nodes[node].module
                if isinstance(module, Neuron):
                    visit(module, LayerTrace(self, node))
                needed = set().union(*(inputs[n] for n in layers[k + 1 :]))
                if node in needed and isinstance(module, Neuron):
                    self.stored[node] = self.pack(node)
                elif node in needed:
                    self.stored[node] = [dense(emitted) for _, _, emitted in self.outputs(node)]
                self.stored = {n: output for n, output in self.stored.items() if n in needed}

    def pack(self, node: fx.Node) -> "PackedSpikes":
        """All spikes of a layer of neurons."""
        packed, blocks = None, len(self.batches) * -(-self.T // simulate.STEPS_PER_BLOCK)
        for _, _, emitted in self.outputs(node):
            fired = emitted.counts if isinstance(emitted, Spikes) else emitted != 0
            if packed is None:  # every block begins with a new byte
                packed = PackedSpikes(len(self.images) * self.T * fired[0].numel() // 8 + blocks, fired.device)
            packed.append(fired)
        assert packed is not None
        return packed

    def inputs(self, node: fx.Node):
        """Yields first step, index of the block, (steps, images), current and residual; batch after batch."""
        nodes, layers = self.nodes_before(node), list(self.plan.spiking_nodes)
        blocks = list(product(self.batches, range(0, self.T, simulate.STEPS_PER_BLOCK)))
        label = f"layer {layers.index(node) + 1} of {len(layers)}"
        for index, (static, first) in enumerate(track(blocks, label)):
            steps, size = min(simulate.STEPS_PER_BLOCK, self.T - first), len(next(iter(static.values())))
            env = BlockValues(static, self.plan.batched_nodes, steps)
            for n in nodes:
                env[n] = self.stored_output(n, index) if n in self.stored else self.plan.value(n, env)
            current, residual = self.plan.input_currents(node, env, size)
            yield first, index, (steps, size), current, residual

    def outputs(self, node: fx.Node):
        """Yields first step, (steps, images) and the output of a layer of neurons or a max-pool."""
        layer = None
        for first, _, (steps, size), current, residual in self.inputs(node):
            if first == 0:
                layer = self.plan.create_layer(node, current, size)
            emitted, _ = layer.run(current, residual, [steps], 0)  # type: ignore
            yield first, (steps, size), emitted

    def nodes_before(self, node: fx.Node) -> list[fx.Node]:
        """Nodes from the preceding layers of neurons, inclusive, to this one, in forward order."""
        visited, stack = set(), list(node.all_input_nodes)
        while stack:
            if (n := stack.pop()) in visited or n in self.batches[0]:
                continue
            visited.add(n)
            stack += [] if n in self.plan.spiking_nodes else n.all_input_nodes
        return [n for n, facts in self.plan.nodes.items() if n in visited and facts.fused_into is None]

    def stored_output(self, node: fx.Node, index: int) -> Spikes | Tensor:
        stored = self.stored[node]
        if isinstance(stored, PackedSpikes):
            return Spikes(stored[index], self.plan.nodes[node].module.v_th)  # type: ignore
        return stored[index]


class PackedSpikes:
    """Spikes of a layer as bits, block after block, each in memory order.

    All blocks share one buffer. Many small buffers would fragment the memory.
    """

    def __init__(self, size: int, device: torch.device):
        """`size` is the number of bytes for all blocks."""
        self.bits, self.blocks = torch.empty(size, dtype=torch.uint8, device=device), []
        self.is_channels_last = device.type == "cpu"

    def append(self, fired: Tensor) -> None:
        """Add a block of zeros and ones (B, ...)."""
        ordered = fired.movedim(1, -1) if self.is_channels_last else fired
        packed = _pack(ordered.reshape(-1))
        begin = self.blocks[-1][1] if self.blocks else 0
        self.bits[begin : begin + len(packed)] = packed
        self.blocks.append((begin, begin + len(packed), ordered.shape))

    def __getitem__(self, index: int) -> Tensor:
        begin, end, shape = self.blocks[index]
        ordered = _unpack(self.bits[begin:end], shape.numel()).reshape(shape)
        return ordered.movedim(-1, 1) if self.is_channels_last else ordered


def _pack(flat: Tensor) -> Tensor:
    """Zeros and ones (n,) as ceil(n / 8) bytes, on the same device."""
    if flat.device.type == "cpu":
        return torch.from_numpy(np.packbits(flat.numpy(), bitorder="little"))
    eights = F.pad(flat.to(torch.uint8), (0, -len(flat) % 8)).reshape(-1, 8)
    return (eights << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(1, dtype=torch.uint8)


def _unpack(bits: Tensor, n: int) -> Tensor:
    """The inverse of `_pack`: (n,), uint8."""
    if bits.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(bits.numpy(), count=n, bitorder="little"))
    return (bits[:, None] >> torch.arange(8, dtype=torch.uint8, device=bits.device) & 1).reshape(-1)[:n]


def _at_every_step(current, steps: int, size: int) -> Tensor:
    """The current of a block (steps * B, ...); a constant one is repeated."""
    current = dense(current)
    return current.repeat(steps, *[1] * (current.dim() - 1)) if len(current) == size != steps * size else current
