"""A converted network as two lists of nodes, computed once a batch and at every step, and the loop over T.

Steps are taken in blocks: the layers of the network see the steps of a block as further images, and a neuron goes
through them in order. Where a neuron takes its whole train at once, all steps are one block.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalOperand=false
# pyright: reportReturnType=false, reportOptionalMemberAccess=false, reportOperatorIssue=false
# (torch.fx types every argument and target of a node as a union of all that it could be)

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from ann2snn.conversion.neurons import Neuron
from ann2snn.errors import UserError
from ann2snn.graph.modules import MaxPool
from ann2snn.graph.network import modules_by_node
from ann2snn.simulation.backends import compiled, fused, in_bytes
from ann2snn.simulation.currents import Current, dense, synapses
from ann2snn.simulation.layers import Compiled, Eager, Whole
from ann2snn.simulation.spikes import Spikes, apply
from ann2snn.simulation.synapses import Synapses


class Plan:
    """What runs when. A sum whose only reader is a compiled neuron is left to that neuron."""

    def __init__(self, snn: fx.GraphModule):
        self.snn = snn
        self.modules = modules_by_node(snn)
        self.synapses: dict[fx.Node, Synapses | None] = {}
        self.once, self.each, changing = [], [], set()
        self.images = set()  # the nodes with one value for each image
        for node in snn.graph.nodes:
            starts = isinstance(self.modules.get(node), Neuron)
            if starts or changing.intersection(node.all_input_nodes):
                changing.add(node)
            if node.op == "placeholder" or self.images.intersection(node.all_input_nodes):
                self.images.add(node)
            (self.each if node in changing else self.once).append(node)
        emitting = (n for n in self.each if isinstance(self.modules.get(n), Neuron | MaxPool))
        self.emitters = {n: self.modules[n].name for n in emitting}
        if not self.emitters:
            raise UserError("This network has no spiking neurons: convert(ann, method, calibration_images, T) first.")
        self.pools = frozenset(str(self.modules[n].name) for n in self.emitters if isinstance(self.modules[n], MaxPool))
        self.whole = any(not hasattr(self.modules[n], "step") for n in self.emitters)  # some take a train at once
        self.compiled = {n for n in self.emitters if compiled(self.modules[n])}
        self.adding = self.compiled | {n for n in self.emitters if in_bytes(self.modules[n])}  # parts of their currents
        self.fused = {n for n in self.emitters if fused(self.modules[n])}
        self.sums = {n.args[0]: n for n in self.adding if n.args[0] in changing and _is_plain_sum(n.args[0])}
        self.each = [n for n in self.each if n not in self.sums]
        weighted = (n for n in self.each if isinstance(self.modules.get(n), nn.Conv2d | nn.Linear))
        self.heard = set(weighted) if self.adding else set()  # what `layer.c` may compute
        self.last_use = self._last_uses()

    def _last_uses(self) -> dict[fx.Node, list[fx.Node]]:
        """Which values nobody needs after a node."""
        places = {node: place for place, node in enumerate(self.snn.graph.nodes)}
        last_use = {node: [] for node in self.each}
        for node in places:
            readers = [self.sums.get(user, user) for user in node.users]
            if readers and node not in self.sums and (last := max(readers, key=places.__getitem__)) in last_use:
                last_use[last].append(node)
        return last_use

    def units(self, image: Tensor) -> int:
        """How many neurons an image has."""
        _, _, events = next(self.run(image, [1], 1))
        return sum(count.numel() for name, count in events.items() if name not in self.pools)

    def delay(self, T: int) -> int:
        """The steps before the first output can leave: those of the neurons on the longest way through the network."""
        delays: dict[fx.Node, int] = {}
        for node in self.snn.graph.nodes:
            before = max((delays[n] for n in node.all_input_nodes), default=0)
            delays[node] = before + (self.modules[node].delay(T) if isinstance(self.modules.get(node), Neuron) else 0)
        return max(delays.values())

    def run(self, images: Tensor, at: list[int], block: int) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
        """(t, accumulated output (B, classes, ...), events per unit and layer) of one batch, at every t of `at`."""
        warmup = self.snn.meta.get("warmup", 0)
        images = images.to(next(self.snn.parameters()))
        once = self.begin(images)
        layers: dict[fx.Node, Compiled | Eager | Whole] = {}
        total, size = torch.zeros((), device=images.device), len(images)
        for first in range(1, at[-1] + 1, block):
            steps = min(block, at[-1] + 1 - first)
            reads = [t for t in at if first <= t < first + steps]
            pieces = _pieces(first, steps, reads)
            env, events = Block(once, self.images, steps), {}
            for node in self.each:
                if node in self.emitters:
                    current, extra = self.currents(node, env, size)
                    if node not in layers:
                        layers[node] = self.start(node, current, size)
                    env[node], events[self.emitters[node]] = layers[node].run(current, extra, pieces, len(reads))
                elif node.op == "output":
                    last = dense(env[node.args[0]]).unflatten(0, (steps, size))
                else:
                    env[node] = self.value(node, env)
                for past in self.last_use[node]:
                    env.pop(past, None)  # its memory is the next layer's, still in the cache
            for k, t in enumerate(range(first, first + steps)):
                total = total + last[k] if t > warmup else torch.zeros_like(last[k])
                if t in reads:
                    yield t, total, {name: found[reads.index(t)] for name, found in events.items()}

    def begin(self, images: Tensor) -> dict[fx.Node, Any]:
        """What is the same at every step."""
        if images.dim() == 4 and images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        once: dict[fx.Node, Any] = {}
        for node in self.once:
            once[node] = images if node.op == "placeholder" else self.value(node, once)
        return once

    def start(self, node: fx.Node, current, size: int) -> Compiled | Eager | Whole:
        if node in self.compiled:
            return Compiled(self.modules[node], torch.Size((size, *current.shape[1:])))
        if node in self.fused:
            from ann2snn.simulation.triton_layer import Fused

            return Fused(self.modules[node], current[:size])
        if not hasattr(self.modules[node], "step"):
            return Whole(self.modules[node], size)
        return Eager(self.modules[node], current[:size])

    def currents(self, node: fx.Node, env: "Block", size: int):
        """What a neuron receives; for one that adds itself perhaps two parts."""
        source = node.args[0]
        if node not in self.adding:
            return dense(env.still(source) if node in self.fused else env[source]), None
        if source not in self.sums:
            current = env.still(source)
            return current.dense if isinstance(current, Spikes) else current, None
        x, y = (env.still(n) for n in source.args)
        if isinstance(y, Current) or isinstance(x, Spikes):
            x, y = y, x
        alike = x.shape[1:] == y.shape[1:] and all(
            len(v.shape) and v.shape[0] in (size, env.steps * size) for v in (x, y)
        )
        if not alike or isinstance(x, Spikes):
            x, y = (dense(env[n]) for n in source.args)
            return x + y, None
        return x, y

    def value(self, node: fx.Node, env: dict):
        if node.op == "get_attr":
            return operator.attrgetter(node.target)(self.snn)
        function = self.modules.get(node, node.target)
        arguments, keywords = fx.map_arg((node.args, node.kwargs), env.__getitem__)
        if node in self.heard:
            x = arguments[0].dense if isinstance(arguments[0], Current) else arguments[0]
            if node not in self.synapses:
                self.synapses[node] = synapses(function, x)
            if self.synapses[node]:
                return Current(self.synapses[node], x)
        if arguments and (spikes := apply(function, *arguments, **keywords)) is not None:
            return spikes
        return function(*map(dense, arguments), **{name: dense(value) for name, value in keywords.items()})


class Block(dict):
    """The values of a block of steps; what is the same in all steps is repeated for each where it is read."""

    def __init__(self, once: dict, images: set[fx.Node], steps: int):
        super().__init__()
        self.once, self.images, self.steps = once, images, steps

    def __missing__(self, node: fx.Node):
        value = self.once[node]
        self[node] = value.repeat(self.steps, *[1] * (value.dim() - 1)) if node in self.images else value
        return self[node]

    def still(self, node: fx.Node):
        """As it is, for a reader that knows what to do with one step."""
        return self.once[node] if node in self.once else self[node]


def _is_plain_sum(node: fx.Node) -> bool:
    tensors = len(node.args) == 2 and all(isinstance(a, fx.Node) for a in node.args)
    return node.target is torch.add and tensors and not node.kwargs and len(node.users) == 1


def _pieces(first: int, steps: int, reads: list[int]) -> list[int]:
    """A block of steps cut after every step that is read."""
    ends = [t + 1 - first for t in reads]
    ends += [] if ends and ends[-1] == steps else [steps]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
