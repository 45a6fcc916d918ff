"""What the simulator needs to know about every node of a converted network."""

import enum
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from ann2snn.conversion.neurons import Neuron
from ann2snn.graph.modules import MaxPool
from ann2snn.graph.network import modules_by_node
from ann2snn.graph.operations import node_of
from ann2snn.simulation.backends import emits_byte_spikes, runs_in_triton, runs_natively


class Backend(enum.Enum):
    """What runs a layer of neurons or a max-pool."""

    NATIVE = enum.auto()
    TRITON = enum.auto()
    SINGLE_STEP = enum.auto()
    MULTI_STEP = enum.auto()


@dataclass(eq=False)
class PlannedNode:
    """A node of the graph and how it is simulated.

    Attributes:
        node: The node.
        module: The module that it calls, if any.
        is_dynamic: Whether its value changes from step to step, because it depends on spikes.
        is_batched: Whether it has one value per image.
        backend: What runs it, if it is a layer of neurons or a max-pool that follows one.
        takes_residual: Whether the layer adds two input currents itself.
        fused_into: The layer that computes this sum itself, if any.
        releases: Nodes whose values no node reads after this one.
    """

    node: fx.Node
    module: nn.Module | None
    is_dynamic: bool
    is_batched: bool
    backend: Backend | None = None
    takes_residual: bool = False
    fused_into: fx.Node | None = None
    releases: list[fx.Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the module that it calls; empty without one."""
        return str(getattr(self.module, "name", ""))


def analyse(snn: fx.GraphModule) -> dict[fx.Node, PlannedNode]:
    """The facts about all nodes, in forward order."""
    modules = modules_by_node(snn)
    nodes: dict[fx.Node, PlannedNode] = {}
    for node in snn.graph.nodes:
        module = modules.get(node)
        inputs = [nodes[n] for n in node.all_input_nodes]
        is_dynamic = isinstance(module, Neuron) or any(n.is_dynamic for n in inputs)
        is_batched = node.op == "placeholder" or any(n.is_batched for n in inputs)
        nodes[node] = PlannedNode(node, module, is_dynamic, is_batched)
        if is_dynamic and isinstance(module, Neuron | MaxPool):
            _plan_layer(nodes[node], module, nodes)
    _plan_releases(nodes)
    return nodes


def _plan_layer(layer: PlannedNode, module: nn.Module, nodes: dict[fx.Node, PlannedNode]) -> None:
    layer.backend = _backend(module)
    layer.takes_residual = layer.backend is Backend.NATIVE or emits_byte_spikes(module)
    source = nodes[node_of(layer.node.args[0])]
    if layer.takes_residual and source.is_dynamic and _is_plain_sum(source.node):
        source.fused_into = layer.node


def _backend(module: nn.Module) -> Backend:
    if runs_natively(module):
        return Backend.NATIVE
    if runs_in_triton(module):
        return Backend.TRITON
    return Backend.SINGLE_STEP if hasattr(module, "step") else Backend.MULTI_STEP


def _is_plain_sum(node: fx.Node) -> bool:
    """Whether a node adds two other nodes for a single reader."""
    has_two_nodes = len(node.args) == 2 and all(isinstance(a, fx.Node) for a in node.args)
    return node.target is torch.add and has_two_nodes and not node.kwargs and len(node.users) == 1


def _plan_releases(nodes: dict[fx.Node, PlannedNode]) -> None:
    order = {node: k for k, node in enumerate(nodes)}
    for node, facts in nodes.items():
        readers = [nodes[user].fused_into or user for user in node.users]
        if readers and facts.fused_into is None:
            last = nodes[max(readers, key=order.__getitem__)]
            if last.is_dynamic:
                last.releases.append(node)
