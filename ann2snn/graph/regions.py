"""Nodes of an exported graph that are no operations: regions without gradients or with autocast, and assertions."""

import operator
from typing import Any

import torch
from torch import fx

from ann2snn.graph.operations import args_of, node_of

aten = torch.ops.aten
REGIONS = (
    torch.ops.higher_order.wrap_with_set_grad_enabled,
    torch.ops.higher_order.wrap_with_autocast,
)


def inline(module: fx.GraphModule) -> None:
    """Replaces every region by its nodes and removes assertions on dtypes; changes `module.graph`."""
    graph = module.graph
    while regions := [node for node in graph.nodes if node.target in REGIONS]:
        for node in regions:
            _inline(module, node)
    for node in list(graph.nodes):
        if node.target == aten._assert_tensor_metadata.default:
            graph.erase_node(node)


def _inline(module: fx.GraphModule, region: fx.Node) -> None:
    args = args_of(region)
    position = next(i for i, argument in enumerate(args) if isinstance(argument, fx.Node))
    body, inputs = node_of(args[position]), args[position + 1 :]
    submodule: Any = module.get_submodule(str(body.target))
    inner = submodule.graph
    parameters = [node for node in inner.nodes if node.op == "placeholder"]
    with module.graph.inserting_before(region):
        results: Any = module.graph.graph_copy(inner, dict(zip(parameters, inputs, strict=True)))
    for user in list(region.users):
        assert user.target is operator.getitem
        user.replace_all_uses_with(results[args_of(user)[1]])
        module.graph.erase_node(user)
    module.graph.erase_node(region)
    if not body.users:
        module.graph.erase_node(body)
