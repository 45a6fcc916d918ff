"""Finds clips from 0 to a constant, however they are written.

`relu(x).clamp(max=1)`, `where(x < 0, 0, where(x > 1, 1, x))`, `minimum(relu(x), a)`, `x * (x > 0)` and `threshold(x, 0,
0)` are all elementwise, piecewise linear functions. A group of such operations is evaluated on many numbers between
-2^40 and 2^40. If the result is clip(x, 0, c) for one c, the group is one activation.
"""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from ann2snn.graph.operations import function_of, is_active_dropout, is_identity, operation

BOUNDS = {"clamp", "clip", "clamp_max", "clamp_min", "where", "max", "min", "maximum", "minimum", "masked_fill"}
ARITHMETIC = {"add", "sub", "rsub", "mul", "div", "neg", "abs"}
COMPARISONS = {"gt", "ge", "lt", "le"}
COPIES = {"to", "to_copy", "type_as", "clone", "contiguous", "alias", "detach", "dropout", "feature_dropout"}
FILLS = {"zeros_like", "ones_like", "full_like"}
CLIPS = BOUNDS | ARITHMETIC | {"relu", "relu6", "hardtanh", "threshold"}
ELEMENTWISE = CLIPS | COMPARISONS | COPIES | FILLS
LARGEST = 2.0**40  # largest number that a group is evaluated on
MAX_OPERATIONS = 16  # in a group


@dataclass
class Clips:
    """The elementwise operations of a graph that are clips or parts of clips."""

    bounds: dict[fx.Node, tuple[fx.Node, float]] = field(default_factory=dict)  # (source, c) of clip(source, 0, c)
    by_channel: set[fx.Node] = field(default_factory=set)  # clips from 0 to a bound that varies within the layer
    same: dict[fx.Node, fx.Node] = field(default_factory=dict)  # a node whose value is that of another node
    parts: dict[fx.Node, fx.Node] = field(default_factory=dict)  # an operation inside a clip, and the clip


class _NoFunction(Exception):
    """A node is not a function of the source alone."""


def find_clips(nodes: Iterable[fx.Node], constants: dict[str, Tensor]) -> Clips:
    """Finds the clips of a graph, the largest groups of operations first.

    Args:
        nodes: The nodes that groups may consist of; the input of a group may be any node of the graph.
        constants: The network's own tensors by the name of their node.
    """
    clips, order = Clips(), {node: i for i, node in enumerate(nodes)}
    positions = {n: i for i, n in enumerate(next(iter(order)).graph.nodes)} if order else {}
    for node in reversed(order):
        if node in clips.parts or operation(node) not in CLIPS or not _gives_tensor(node) or is_active_dropout(node):
            continue
        for source in sorted(_ancestors(node), key=positions.__getitem__):
            group = _Group(source, order, constants)
            try:
                group.evaluate(node)
            except (_NoFunction, RuntimeError, TypeError, IndexError):
                continue
            if group.settles(node, clips):
                break
    return clips


def _ancestors(node: fx.Node) -> list[fx.Node]:
    """The nearest nodes that `node` is computed from by elementwise operations."""
    ancestors = list(node.all_input_nodes)
    for before in ancestors:
        if operation(before) in ELEMENTWISE and len(ancestors) < MAX_OPERATIONS:
            ancestors += [n for n in before.all_input_nodes if n not in ancestors]
    return [n for n in dict.fromkeys(ancestors) if _gives_tensor(n)]


def _gives_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


class _Group:
    """A group of elementwise operations as a function of one node, `source`."""

    def __init__(self, source: fx.Node, order: dict[fx.Node, int], constants: dict[str, Tensor]):
        self.order, self.constants, self.x = order, constants, _numbers()
        self.values: dict[fx.Node, Tensor] = {source: self.x}
        self.source, self.by_channel = source, False

    def evaluate(self, node: fx.Node) -> Tensor:
        """The values of `node` where those of the source are `x`; raises _NoFunction if it depends on more."""
        if node not in self.values:
            self.values[node] = self._constant(node) if node.name in self.constants else self._apply(node)
        return self.values[node]

    def _constant(self, node: fx.Node) -> Tensor:
        if not self.constants[node.name].numel():
            raise _NoFunction
        value = self.constants[node.name].flatten()[0]  # _is_uneven tells whether the others differ
        return value.cpu().double() if value.is_floating_point() else value.cpu()

    def _apply(self, node: fx.Node) -> Tensor:
        known = node in self.order and operation(node) in ELEMENTWISE and _gives_tensor(node)
        if not known or is_active_dropout(node):
            raise _NoFunction
        inputs: Any = fx.map_arg((node.args, node.kwargs), lambda n: self.evaluate(n).clone())
        args, kwargs = inputs
        if any(self._is_uneven(n) for n in node.all_input_nodes):
            if operation(node) not in BOUNDS:
                raise _NoFunction
            self.by_channel = True
        return args[0] if is_identity(node) else function_of(node)(*args, **kwargs).cpu()

    def _is_uneven(self, node: fx.Node) -> bool:
        value = self.constants.get(node.name)
        return value is not None and bool((value != value.flatten()[0]).any())

    def settles(self, node: fx.Node, clips: Clips) -> bool:
        """Adds `node` to `clips` and returns True if it is a clip of the source or has the values of another node."""
        y = self.values[node].double()
        equal = (
            n for n in node.all_input_nodes if n.name not in self.constants and torch.equal(self.values[n].double(), y)
        )
        if y.shape != self.x.shape or node.meta["val"].shape != self.source.meta["val"].shape:
            return False
        if same := None if self.by_channel else next(equal, None):
            clips.same[node] = same
            return True
        top = y[-1].item()
        top = math.inf if top == LARGEST else top
        if not top > 0 or not torch.allclose(y, self.x.clamp(0, top), rtol=1e-6, atol=0):
            return False
        if self.by_channel:
            clips.by_channel.add(node)
        else:
            clips.bounds[node] = self.source, top
        self._absorb(node, clips)
        return True

    def _absorb(self, clip: fx.Node, clips: Clips) -> None:
        """Marks the operations that only the clip reads as its parts."""
        for node in sorted(self.values, key=lambda n: self.order.get(n, -1), reverse=True):
            needed = all(user is clip or clips.parts.get(user) is clip for user in node.users)
            if needed and node is not self.source and node is not clip and node.name not in self.constants:
                clips.parts[node] = clip


@functools.cache
def _numbers() -> Tensor:
    """Numbers of all magnitudes and both signs, ascending, in double precision."""
    steps, sizes = torch.linspace(0, 16, 1601), torch.logspace(-20, 40, 1201, base=2)
    positive = torch.cat([steps[1:], sizes]).double().sort().values
    return torch.cat([-positive.flip(0), torch.zeros(1).double(), positive])
