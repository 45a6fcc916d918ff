"""Layer-by-layer simulation, for methods that calibrate a layer on the spikes of the layers before it.

The spikes of a layer are stored as bits until the last layer that receives them is done: N images and T steps take
N x T / 8 bytes per unit. Values between two layers of neurons are computed again for every use. Values before the
first layer, the images among them, are stored.
"""

import functools
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ann2snn.calibration.images import check_images
from ann2snn.conversion.neurons import Neuron
from ann2snn.graph.operations import node_of
from ann2snn.progress import track
from ann2snn.simulation import simulate
from ann2snn.simulation.currents import dense
from ann2snn.simulation.plan import BlockValues, Plan
from ann2snn.simulation.spikes import Spikes


def layer_by_layer(
    snn: fx.GraphModule,
    images: Tensor,
    T: int,
    visit: Callable[[Neuron, "LayerTrace"], None],
    visit_output: Callable[["LayerTrace"], None] | None = None,
) -> None:
    """Run a converted network one layer after the other, each for all T steps.

    Args:
        snn: The converted network.
        images: (N, C, H, W).
        T: Number of steps.
        visit: `visit(neuron, trace)` is called for every layer of neurons, in forward order. It may change the
            thresholds, shifts and start potentials of the neuron, and the weights of `trace.layer`. The layers after it
            receive the spikes of the changed layer.
        visit_output: `visit_output(trace)` is called last, for the output of the network. It may change the weights of
            `trace.layer`.
    """
    _Network(snn, check_images(snn, images), T).walk(visit, visit_output)


class LayerTrace:
    """Inputs, currents and spikes of one layer over T steps of all images.

    Attributes:
        name: Name of the node of the layer, the same in the ANN.
        T: Number of steps.
        images: Number of images.
    """

    def __init__(self, network: "_Network", node: fx.Node):
        self.network, self.node, self.T, self.images = network, node, network.T, len(network.images)
        self.name = node.name

    @functools.cached_property
    def layer(self) -> fx.GraphModule:
        """The current as a function of the layer's inputs, with the weights of the network.

        Its inputs are the outputs of layers of neurons and max-pools, and the images. It is affine: mean inputs give
        the mean current.
        """
        graph = fx.Graph()
        copies = {node: graph.placeholder(node.name) for node in self._inputs}
        for node in self.network.part_before(self.node):
            if node not in copies:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(copies[node_of(self.node.args[0])])
        return fx.GraphModule(self.network.plan.snn, graph)

    @property
    def receives_spikes(self) -> bool:
        """Whether an input is a layer of neurons or a max-pool; otherwise the current is the same at every step."""
        return any(n in self.network.plan.spiking_nodes for n in self._inputs)

    @functools.cached_property
    def _inputs(self) -> list[fx.Node]:
        return [n for n in self.network.part_before(self.node) if self.network.is_input(n)]

    def mean_inputs(self) -> Iterator[list[Tensor]]:
        """Yields the means over all steps of the inputs of `layer`, each (B, ...), batch after batch."""
        for index, static in enumerate(self.network.batches):
            yield [static[n] if n in static else self.network.mean_of(n, index) for n in self._inputs]

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
        firsts = range(0, T, simulate.STEPS_PER_BLOCK)
        self.blocks = [(first, min(simulate.STEPS_PER_BLOCK, T - first)) for first in firsts]  # first step, and steps
        assert not self.plan.has_multi_step, "multi-step neurons have no single steps to trace"
        self.images = images.to(next(snn.parameters()))
        with torch.inference_mode():
            size = simulate.batch_for(Plan(snn).units(self.images[:1]), self.images.device.type)
            self.batches = [self.plan.static_values(part) for part in self.images.split(size)]
        self.stored: dict[fx.Node, PackedSpikes | list[Tensor]] = {}  # the output of a layer, block after block

    def walk(
        self, visit: Callable[[Neuron, LayerTrace], None], visit_output: Callable[[LayerTrace], None] | None
    ) -> None:
        (output,) = (n for n in self.plan.nodes if n.op == "output")
        layers = [*self.plan.spiking_nodes, *[output] * (visit_output is not None)]
        inputs = {node: self.plan.spiking_nodes.keys() & self.nodes_before(node) for node in layers}
        with torch.no_grad():
            for k, node in enumerate(layers):
                module = self.plan.nodes[node].module
                if isinstance(module, Neuron):
                    visit(module, LayerTrace(self, node))
                elif node is output and visit_output:
                    visit_output(LayerTrace(self, node))
                self.update_static_values(node)
                needed = set().union(*(inputs[n] for n in layers[k + 1 :]))
                if node in needed and isinstance(module, Neuron):
                    self.stored[node] = self.pack(node)
                elif node in needed:
                    self.stored[node] = [dense(emitted) for _, _, emitted in self.outputs(node)]
                self.stored = {n: output for n, output in self.stored.items() if n in needed}

    def update_static_values(self, node: fx.Node) -> None:
        """Compute the values before a layer that are the same at every step again; its weights may have changed."""
        for static in self.batches:
            for n in self.part_before(node):
                if n in static and not self.is_input(n):
                    static[n] = self.plan.value(n, static)

    def pack(self, node: fx.Node) -> "PackedSpikes":
        """All spikes of a layer of neurons."""
        packed, blocks = None, len(self.batches) * len(self.blocks)
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
        blocks = list(product(self.batches, self.blocks))
        label = f"layer {layers.index(node) + 1} of {len(layers)}"
        for n in nodes:
            self.plan.synapses.pop(n, None)  # its weights may have changed
        for index, (static, (first, steps)) in enumerate(track(blocks, label)):
            size = len(next(iter(static.values())))
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
        """Nodes from the preceding layers of neurons, inclusive, to this one, in forward order, without static ones."""
        return [n for n in self.part_before(node) if n not in self.batches[0] and self.plan.nodes[n].fused_into is None]

    def part_before(self, node: fx.Node) -> list[fx.Node]:
        """The nodes that the current of a layer depends on, with its inputs, in forward order."""
        visited, stack = set(), list(node.all_input_nodes)
        while stack:
            if (n := stack.pop()) not in visited:
                visited.add(n)
                stack += [] if self.is_input(n) else n.all_input_nodes
        return [n for n in self.plan.nodes if n in visited]

    def is_input(self, node: fx.Node) -> bool:
        """Whether a node is an input of layers: neurons, a max-pool, the images or a constant."""
        return node.op in ("placeholder", "get_attr") or node in self.plan.spiking_nodes

    def mean_of(self, node: fx.Node, batch: int) -> Tensor:
        """Mean output (B, ...) of a stored layer over all steps, for a batch of images."""
        total, size = torch.zeros(()), len(next(iter(self.batches[batch].values())))
        for k, (_, steps) in enumerate(self.blocks):
            total = total + _sum_over_steps(self.stored_output(node, batch * len(self.blocks) + k), steps, size)
        return total / self.T

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


def _sum_over_steps(value: Spikes | Tensor, steps: int, size: int) -> Tensor:
    """Sum (B, ...) of the values (steps * B, ...) of a block."""
    if isinstance(value, Spikes):
        counts = value.counts.unflatten(0, (steps, size))
        return functools.reduce(Tensor.add_, counts[1:], counts[0].clone()) * value.amplitude  # bytes: steps <= 8
    return value.unflatten(0, (steps, size)).sum(0)


def _at_every_step(current, steps: int, size: int) -> Tensor:
    """The current of a block (steps * B, ...); a constant one is repeated."""
    current = dense(current)
    return current.repeat(steps, *[1] * (current.dim() - 1)) if len(current) == size != steps * size else current
