"""Nodes of an exported graph that are no operations: regions without gradients or with autocast, and assertions."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportGeneralTypeIssues=false
# (torch.fx types every argument of a node as a union of all that it could be)

import operator

import torch
from torch import fx

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
    position = next(i for i, argument in enumerate(region.args) if isinstance(argument, fx.Node))
    body, inputs = region.args[position], region.args[position + 1 :]
    inner = module.get_submodule(body.target).graph
    parameters = [node for node in inner.nodes if node.op == "placeholder"]
    with module.graph.inserting_before(region):
        results = module.graph.graph_copy(inner, dict(zip(parameters, inputs, strict=True)))
    for user in list(region.users):
        assert user.target is operator.getitem
        user.replace_all_uses_with(results[user.args[1]])
        module.graph.erase_node(user)
    module.graph.erase_node(region)
    if not body.users:
        module.graph.erase_node(body)
