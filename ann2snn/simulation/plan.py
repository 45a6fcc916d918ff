"""The loop over T: which nodes of a converted network are computed per batch, which at every step, and by what.

Steps are taken in blocks. The other layers of the network process the steps of a block as further images, and a layer
of neurons runs through them in order. If a layer receives all steps at once, the whole simulation is one block.
"""

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from ann2snn.conversion.neurons import Neuron
from ann2snn.errors import UserError
from ann2snn.graph.modules import MaxPool
from ann2snn.graph.operations import function_of, node_of
from ann2snn.simulation.analysis import Backend, analyse
from ann2snn.simulation.currents import LazyCurrent, dense
from ann2snn.simulation.layers import MultiStepLayer, NativeIFLayer, SingleStepLayer
from ann2snn.simulation.segments import IFLayer, segment_lengths
from ann2snn.simulation.spikes import Spikes, apply
from ann2snn.simulation.synapses import Synapses, synapses_for

Layer = IFLayer | SingleStepLayer | MultiStepLayer


class Plan:
    """How a converted network is run.

    Attributes:
        nodes: Facts about every node of the graph.
        static_nodes: Nodes with the same value at every step.
        dynamic_nodes: Nodes that are computed at every step, without the sums that a neuron computes itself.
        spiking_nodes: Names of the layers of neurons and max-pools.
        pools: Names of the max-pools.
        has_multi_step: Whether a layer receives all steps at once.
        native_candidates: Layers with weights that `layer.c` may compute.
        synapses: Layers with weights that have run: their packed weights, or None if PyTorch computes them.
    """

    def __init__(self, snn: fx.GraphModule):
        """UserError if the network has no spiking neurons."""
        self.snn = snn
        self.nodes = analyse(snn)
        facts = self.nodes.values()
        self.static_nodes = [n.node for n in facts if not n.is_dynamic]
        self.dynamic_nodes = [n.node for n in facts if n.is_dynamic and n.fused_into is None]
        self.batched_nodes = {n.node for n in facts if n.is_batched}
        self.spiking_nodes = {n.node: n.name for n in facts if n.backend}
        if not self.spiking_nodes:
            raise UserError("This network has no spiking neurons: convert(ann, method, calibration_images, T) first.")
        self.pools = frozenset(n.name for n in facts if n.backend and isinstance(n.module, MaxPool))
        self.has_multi_step = any(n.backend is Backend.MULTI_STEP for n in facts)
        weighted = {n.node for n in facts if n.is_dynamic and isinstance(n.module, nn.Conv2d | nn.Linear)}
        self.native_candidates = weighted if any(n.takes_residual for n in facts) else set()
        self.synapses: dict[fx.Node, Synapses | None] = {}

    def layers_on(self, backend: Backend) -> list[str]:
        """Names of the layers that a backend runs."""
        return [name for node, name in self.spiking_nodes.items() if self.nodes[node].backend is backend]

    def units(self, image: Tensor) -> int:
        """Number of neurons, found by one step on an image (1, C, H, W)."""
        _, _, events = next(self.run(image, [1], 1))
        return sum(count.numel() for name, count in events.items() if name not in self.pools)

    def delay(self, T: int) -> int:
        """Steps before the first output can leave: the sum of the delays on the longest path through the network."""
        delays: dict[fx.Node, int] = {}
        for node, facts in self.nodes.items():
            before = max((delays[n] for n in node.all_input_nodes), default=0)
            delays[node] = before + (facts.module.delay(T) if isinstance(facts.module, Neuron) else 0)
        return max(delays.values())

    def run(self, images: Tensor, at: list[int], block: int) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
        """Simulate one batch.

        Args:
            images: (B, C, H, W).
            at: Steps to read, in ascending order; the last one is T.
            block: Steps in a block.

        Yields:
            At every t of `at`: t, the accumulated output (B, classes, ...), and the events per unit of every layer.
        """
        warmup = self.snn.meta.get("warmup", 0)
        images = images.to(next(self.snn.parameters()))
        static = self.static_values(images)
        layers: dict[fx.Node, Layer] = {}
        total, size = torch.zeros((), device=images.device), len(images)
        for first in range(1, at[-1] + 1, block):
            steps = min(block, at[-1] + 1 - first)
            reads = [t for t in at if first <= t < first + steps]
            segments = segment_lengths(steps, [t + 1 - first for t in reads])
            env, events = BlockValues(static, self.batched_nodes, steps), {}
            last = total  # replaced by the outputs (steps, B, ...) of the block
            for node in self.dynamic_nodes:
                if node in self.spiking_nodes:
                    current, residual = self.input_currents(node, env, size)
                    if node not in layers:
                        layers[node] = self.create_layer(node, current, size)
                    output = layers[node].run(current, residual, segments, len(reads))
                    env[node], events[self.spiking_nodes[node]] = output
                elif node.op == "output":
                    last = dense(env[node_of(node.args[0])]).unflatten(0, (steps, size))
                else:
                    env[node] = self.value(node, env)
                for unused in self.nodes[node].releases:
                    env.pop(unused, None)  # the next layer reuses its memory, which is in the cache
            for k, t in enumerate(range(first, first + steps)):
                total = total + last[k] if t > warmup else torch.zeros_like(last[k])
                if t in reads:
                    yield t, total, {name: counts[reads.index(t)] for name, counts in events.items()}

    def static_values(self, images: Tensor) -> dict[fx.Node, Any]:
        """Values of the static nodes for a batch of images (B, C, H, W)."""
        if images.dim() == 4 and images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        values: dict[fx.Node, Any] = {}
        for node in self.static_nodes:
            values[node] = images if node.op == "placeholder" else self.value(node, values)
        return values

    def create_layer(self, node: fx.Node, current, size: int) -> Layer:
        """A layer in its initial state, for `size` images and an input like `current`."""
        module: Any = self.nodes[node].module
        match self.nodes[node].backend:
            case Backend.NATIVE:
                return NativeIFLayer(module, torch.Size((size, *current.shape[1:])))
            case Backend.TRITON:
                from ann2snn.simulation.triton_layer import TritonIFLayer

                return TritonIFLayer(module, current[:size])
            case Backend.MULTI_STEP:
                return MultiStepLayer(module, size)
        return SingleStepLayer(module, current[:size])

    def input_currents(self, node: fx.Node, env: "BlockValues", size: int) -> tuple[Any, Any]:
        """The current of a layer, and a residual for a layer that adds it itself, or None."""
        source, facts = node_of(node.args[0]), self.nodes[node]
        if not facts.takes_residual:
            return dense(env.unrepeated(source) if facts.backend is Backend.TRITON else env[source]), None
        if self.nodes[source].fused_into is None:
            current = env.unrepeated(source)
            return current.dense if isinstance(current, Spikes) else current, None
        x, y = (env.unrepeated(node_of(n)) for n in source.args)
        if isinstance(y, LazyCurrent) or isinstance(x, Spikes):
            x, y = y, x
        alike = x.shape[1:] == y.shape[1:] and all(
            len(v.shape) and v.shape[0] in (size, env.steps * size) for v in (x, y)
        )
        if not alike or isinstance(x, Spikes):
            x, y = (dense(env[node_of(n)]) for n in source.args)
            return x + y, None
        return x, y

    def value(self, node: fx.Node, env: dict) -> Any:
        """Value of a node without neurons, from those of its inputs."""
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.snn)
        module: Any = self.nodes[node].module
        function = function_of(node) if module is None else module
        inputs: Any = fx.map_arg((node.args, node.kwargs), env.__getitem__)
        arguments, keywords = inputs
        if module is not None and node in self.native_candidates:
            x = arguments[0].dense if isinstance(arguments[0], LazyCurrent) else arguments[0]
            if node not in self.synapses:
                self.synapses[node] = synapses_for(module, x)
            if synapses := self.synapses[node]:
                return LazyCurrent(synapses, x)
        if arguments and (spikes := apply(function, *arguments, **keywords)) is not None:
            return spikes
        return function(*map(dense, arguments), **{name: dense(value) for name, value in keywords.items()})


class BlockValues(dict):
    """Values of the nodes for a block of steps. A static value is repeated for every step when it is read."""

    def __init__(self, static: dict, batched: set[fx.Node], steps: int):
        super().__init__()
        self.static, self.batched, self.steps = static, batched, steps

    def __missing__(self, node: fx.Node):
        value = self.static[node]
        self[node] = value.repeat(self.steps, *[1] * (value.dim() - 1)) if node in self.batched else value
        return self[node]

    def unrepeated(self, node: fx.Node):
        """A value, without repetition if it is static."""
        return self.static[node] if node in self.static else self[node]
