"""A softmax or sigmoid at the end of a network. It is dropped, as the largest output stays the largest."""

import sys

from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ann2snn.graph.operations import is_identity, operation
from ann2snn.graph.report import NodeReport


def output_activation(graph: fx.Graph) -> fx.Node | None:
    """The softmax or log_softmax over the classes, or the sigmoid, that returns the output; None if there is none."""
    node = graph.output_node().args[0][0]  # type: ignore[index]
    while isinstance(node, fx.Node) and node.op == "call_function" and len(node.users) == 1:
        if is_identity(node):
            node = node.args[0]
        elif operation(node) == "sigmoid" or _over_classes(node):
            return node
        else:
            return None
    return None


def _over_classes(node: fx.Node) -> bool:
    if operation(node) not in ("softmax", "log_softmax"):
        return False
    dims, dim = node.meta["val"].dim(), node.args[1]
    return dims > 1 and dim in (1, 1 - dims)


def print_dropped(report: list[NodeReport]) -> None:
    """Reports on stderr what was dropped."""
    for row in report:
        if row.role == "dropped":
            print(f"ann2snn: {row.name}: the {row.operation} at the end is dropped: {row.note}.", file=sys.stderr)


def output_without(net: nn.Module, squash: str, x: Tensor) -> Tensor:
    """The output of `net` on `x`, without the softmax or sigmoid (by name) at its end."""
    with _Inputs(squash) as inputs:
        net(x)
    return inputs.last


class _Inputs(TorchDispatchMode):
    """Keeps the input of the last call of the operation `name`."""

    last: Tensor

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.__name__.partition(".")[0].strip("_") == self.name:
            self.last = args[0].clone()
        return func(*args, **kwargs or {})
