"""The operations that a graph may hold, by their ATen names."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportOptionalMemberAccess=false
# (torch.fx types every argument of a node as a union of all that it could be)

import math
from collections.abc import Container

import torch
import torch.nn.functional as F
from torch import fx

aten = torch.ops.aten

IDENTITY = (aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default, aten.feature_dropout_.default,
            aten.clone.default, aten.contiguous.default, aten.alias.default, aten.lift_fresh_copy.default,
            aten.detach.default, aten.detach_.default)  # fmt: skip
CASTS = (aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten._to_copy.default,
         aten.type_as.default)  # fmt: skip
FILLS = ("zeros", "ones", "full", "scalar_tensor")
LINEAR = {
    aten.add.Tensor: torch.add,
    aten.add_.Tensor: torch.add,
    aten.avg_pool2d.default: F.avg_pool2d,
    aten.adaptive_avg_pool2d.default: F.adaptive_avg_pool2d,
    aten.mean.dim: torch.mean,
    aten.pad.default: F.pad,
    aten.cat.default: torch.cat,
}
RESHAPES = (aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten._unsafe_view.default)


def operation(node: fx.Node) -> str:
    """The operation's plain name: `relu` for aten.relu_.default."""
    return _name(node).strip("_")


def drops(node: fx.Node) -> bool:
    """A dropout that the network leaves on when it is evaluated."""
    return node.target in IDENTITY and "dropout" in _name(node) and bool(node.args[2]) and node.args[1] != 0


def is_identity(node: fx.Node) -> bool:
    """A node that gives its input when the network is evaluated: a dropout, a copy, a move, a cast among floats."""
    if node.target in IDENTITY:
        return True
    source = node.args[0] if node.args and node.target in CASTS else None
    return isinstance(source, fx.Node) and all(n.meta["val"].is_floating_point() for n in (source, node))


def is_constant(node: fx.Node, tensors: Container[str]) -> bool:
    """A node that depends on the network's own `tensors` alone, or on nothing: one full of zeros, say."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    return all(n.name in tensors for n in node.all_input_nodes) if node.all_input_nodes else operation(node) in FILLS


def in_place(node: fx.Node) -> bool:
    return _name(node).endswith("_")


def aliases(node: fx.Node) -> list[fx.Node]:
    """All nodes that share their memory with this one: what it is a view of, and that one's views."""
    while _is_view(node):
        node = node.args[0]  # type: ignore[assignment]
    shared = [node]
    for alias in shared:
        shared += [user for user in alias.users if _is_view(user)]
    return shared


def _is_view(node: fx.Node) -> bool:
    return node.target in RESHAPES or node.target == aten.slice.Tensor


def _name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target)).partition(".")[0]


def clip(node: fx.Node) -> tuple[float, float] | None:
    """(lower, upper) of a node that clips, None of any other."""
    bound = [*node.args[1:3], None, None]
    match node.target:
        case aten.relu.default | aten.relu_.default:
            return 0.0, math.inf
        case aten.relu6.default | aten.relu6_.default:
            return 0.0, 6.0
        case aten.hardtanh.default | aten.hardtanh_.default:
            low, high = (*node.args[1:3], *(-1.0, 1.0)[len(node.args) - 1 :])
            return float(low), float(high)
        case aten.clamp.default | aten.clamp_.default | aten.clip.default | aten.clip_.default:
            low = node.kwargs.get("min", bound[0])
            high = node.kwargs.get("max", bound[1])
            return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))
        case aten.clamp_min.default | aten.clamp_min_.default:
            return float(node.args[1]), math.inf
    return None
