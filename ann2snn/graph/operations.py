"""The operations of exported graphs, by their ATen names."""

import math
import operator
from collections.abc import Callable, Container
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

aten = torch.ops.aten

IDENTITY = (aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default, aten.feature_dropout_.default,
            aten.clone.default, aten.contiguous.default, aten.alias.default, aten.lift_fresh_copy.default,
            aten.detach.default, aten.detach_.default)  # fmt: skip
CASTS = (aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten._to_copy.default,
         aten.type_as.default)  # fmt: skip
LINEAR = {  # each operation and the function it becomes, with the same arguments
    **dict.fromkeys((aten.add.Tensor, aten.add_.Tensor), torch.add),
    **dict.fromkeys((aten.sub.Tensor, aten.sub_.Tensor, aten.subtract.Tensor), torch.sub),
    aten.rsub.Scalar: torch.rsub,
    **dict.fromkeys((aten.neg.default, aten.neg_.default, aten.negative.default), torch.neg),
    aten.avg_pool1d.default: F.avg_pool1d,
    aten.avg_pool2d.default: F.avg_pool2d,
    aten.avg_pool3d.default: F.avg_pool3d,
    aten.adaptive_avg_pool1d.default: F.adaptive_avg_pool1d,
    aten.adaptive_avg_pool2d.default: F.adaptive_avg_pool2d,
    aten.adaptive_avg_pool3d.default: F.adaptive_avg_pool3d,
    aten.mean.dim: torch.mean,
    aten.mean.default: torch.mean,
    aten.sum.dim_IntList: torch.sum,
    aten.sum.default: torch.sum,
    aten.pad.default: F.pad,
    **dict.fromkeys((aten.cat.default, aten.concat.default, aten.concatenate.default), torch.cat),
    aten.stack.default: torch.stack,
    aten.permute.default: torch.permute,
    **dict.fromkeys((aten.transpose.int, aten.swapaxes.default, aten.swapdims.default), torch.transpose),
    **dict.fromkeys((aten.movedim.int, aten.movedim.intlist, aten.moveaxis.int, aten.moveaxis.intlist), torch.movedim),
    aten.mT.default: torch.adjoint,
    aten.flip.default: torch.flip,
    aten.fliplr.default: torch.fliplr,
    aten.roll.default: torch.roll,
    **dict.fromkeys((aten.repeat.default, aten.tile.default), torch.tile),
    aten.repeat_interleave.self_int: torch.repeat_interleave,
    aten.index_select.default: torch.index_select,
    aten.pixel_shuffle.default: F.pixel_shuffle,
    aten.pixel_unshuffle.default: F.pixel_unshuffle,
    aten.channel_shuffle.default: F.channel_shuffle,
}
NEAREST = [
    getattr(aten, f"{name}{n}d").vec for name in ("upsample_nearest", "_upsample_nearest_exact") for n in (1, 2, 3)
]
INTERPOLATIONS = [aten.upsample_linear1d.vec, aten.upsample_bilinear2d.vec, aten.upsample_trilinear3d.vec,
                  aten.upsample_bicubic2d.vec]  # fmt: skip
LINEAR |= {function: function for function in NEAREST + INTERPOLATIONS}


def args_of(node: fx.Node) -> tuple[Any, ...]:
    """The positional arguments of a node; torch.fx types each as a union of all that an argument may be."""
    return node.args


def node_of(value: Any) -> fx.Node:
    """An argument of a node that is a node itself."""
    return value


def function_of(node: fx.Node) -> Callable[..., Any]:
    """The function that a node calls."""
    target: Any = node.target
    return target


def operation(node: fx.Node) -> str:
    """The operation's plain name: `relu` for aten.relu_.default."""
    return _name(node).strip("_")


def argument(node: fx.Node, name: str):
    """The value of an argument of an ATen operation by name; by default that of its schema."""
    schema = node.target._schema  # type: ignore[union-attr]
    for position, declared in enumerate(schema.arguments):
        if declared.name == name:
            given = node.args[position] if position < len(node.args) else declared.default_value
            return node.kwargs.get(name, given)
    raise KeyError(name)


def is_view(node: fx.Node) -> bool:
    """Whether the result may share the memory of the first argument, according to the operation's schema."""
    if node.target is operator.getitem:
        return True
    declared = getattr(getattr(node.target, "_schema", None), "arguments", ())
    return bool(declared) and declared[0].alias_info is not None and not declared[0].alias_info.is_write


def is_active_dropout(node: fx.Node) -> bool:
    """Whether a node is a dropout that is also active in eval mode."""
    return node.target in IDENTITY and "dropout" in _name(node) and bool(node.args[2]) and bool(node.args[1])


def is_identity(node: fx.Node) -> bool:
    """Whether a node returns its input in eval mode: a dropout, a copy, a move, or a cast between floats."""
    if node.target in IDENTITY:
        return True
    source = node.args[0] if node.args and node.target in CASTS else None
    return isinstance(source, fx.Node) and all(n.meta["val"].is_floating_point() for n in (source, node))


def is_constant(node: fx.Node, tensors: Container[str]) -> bool:
    """Whether a node depends at most on the network's own `tensors` and has the same value at every call."""
    random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) or "empty" in _name(node)
    known = all(n.name in tensors for n in node.all_input_nodes)
    return node.op == "call_function" and node.meta.get("val") is not None and known and not random


def is_in_place(node: fx.Node) -> bool:
    """Whether a node changes its first argument."""
    return _name(node).endswith("_")


def aliases(node: fx.Node) -> list[fx.Node]:
    """All nodes that may share memory with this one: the tensor that it is a view of, and all views of that."""
    while is_view(node):
        node = node_of(node.args[0])
    shared = [node]
    for alias in shared:
        shared += [user for user in alias.users if is_view(user)]
    return shared


def _name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target)).partition(".")[0]


def clip(node: fx.Node) -> tuple[float, float] | None:
    """(lower, upper) bound of a clip; None for any other operation."""
    args: tuple[Any, ...] = node.args
    keywords: dict[str, Any] = node.kwargs
    bound = [*args[1:3], None, None]
    match node.target:
        case aten.relu.default | aten.relu_.default:
            return 0.0, math.inf
        case aten.relu6.default | aten.relu6_.default:
            return 0.0, 6.0
        case aten.hardtanh.default | aten.hardtanh_.default:
            low, high = (*args[1:3], *(-1.0, 1.0)[len(args) - 1 :])
            return float(low), float(high)
        case aten.clamp.default | aten.clamp_.default | aten.clip.default | aten.clip_.default:
            low = keywords.get("min", bound[0])
            high = keywords.get("max", bound[1])
            return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))
        case aten.clamp_min.default | aten.clamp_min_.default:
            return float(args[1]), math.inf
    return None
