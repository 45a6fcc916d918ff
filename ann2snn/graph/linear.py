"""Handlers of linear operations without weights, by the name of the operation.

A handler takes the rewriter and the exported node. The new node must commute with the mean over time and must not
change the first dimension, the batch.
"""

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import fx

from ann2snn.graph import not_convertible
from ann2snn.graph.modules import Contraction, MaxPool
from ann2snn.graph.operations import LINEAR, args_of, argument, operation

if TYPE_CHECKING:
    from ann2snn.graph.rewriter import Rewriter


def reshape(rewriter: "Rewriter", node: fx.Node) -> None:
    """An operation that only changes the shape; all sizes but the first are those of the example."""
    _by_shape(rewriter, node, torch.reshape)


def expand(rewriter: "Rewriter", node: fx.Node) -> None:
    """`expand` to the same number of dimensions."""
    if len(node.meta["val"].shape) != len(args_of(node)[0].meta["val"].shape):
        return rewriter.reject(node, not_convertible.BATCH)
    _by_shape(rewriter, node, torch.broadcast_to)


def _by_shape(rewriter: "Rewriter", node: fx.Node, function: Callable) -> None:
    source, after = args_of(node)[0], node.meta["val"].shape
    if source not in rewriter.env:
        return rewriter.reject(node, not_convertible.SIZES)
    if not rewriter.keeps_batch(node) or not all(isinstance(size, int) for size in after[1:]):
        return rewriter.reject(node, not_convertible.BATCH)
    rewriter.call(node, function, rewriter.env[source], (-1, *after[1:]))


def take(rewriter: "Rewriter", node: fx.Node) -> None:
    """`slice`, `narrow` and `select`."""
    source, after = args_of(node)[0], node.meta["val"].shape
    if str(source.meta["val"].shape) == str(after):
        rewriter.env[node] = rewriter.env[source]
        return rewriter.report_node(node, "folded", "takes everything")
    dim = argument(node, "dim") % source.meta["val"].dim()
    match operation(node):
        case "select":
            index = argument(node, "index")
        case "narrow":
            start = argument(node, "start") % source.meta["val"].shape[dim]
            index = slice(start, start + argument(node, "length"))
        case _:
            index = slice(argument(node, "start"), argument(node, "end"), argument(node, "step"))
    if dim == 0:
        return rewriter.reject(node, not_convertible.BATCH)
    rewriter.call(node, operator.getitem, rewriter.env[source], (*[slice(None)] * dim, index))


def index(rewriter: "Rewriter", node: fx.Node) -> None:
    """`x[:, indices]` with one list of constant indices."""
    given = {dim: n for dim, n in enumerate(args_of(node)[1]) if n is not None}
    if 0 in given:
        return rewriter.reject(node, not_convertible.BATCH)
    ((dim, indices), *more) = given.items()
    values = rewriter.tensors.get(indices.name)
    if more or values is None or values.dim() != 1 or values.dtype != torch.long:
        return rewriter.reject(node, not_convertible.UNKNOWN)
    rewriter.call(node, torch.index_select, rewriter.env[args_of(node)[0]], dim, rewriter.operand(indices))


def split(rewriter: "Rewriter", node: fx.Node) -> None:
    """`chunk`, `split` and `unbind`: every part becomes a slice, by `part`."""
    if _split_dim(node) == 0:
        return rewriter.reject(node, not_convertible.BATCH)
    rewriter.env[node] = rewriter.env[args_of(node)[0]]
    rewriter.report_node(node, "linear")


def _split_dim(node: fx.Node) -> int:
    return argument(node, "dim") % args_of(node)[0].meta["val"].dim()


def part(rewriter: "Rewriter", node: fx.Node) -> None:
    """One of several outputs of an operation: a part of a split, or the only output that is used."""
    whole, position = args_of(node)
    source = rewriter.env[whole]
    if HANDLERS.get(operation(whole)) is split and (dim := _split_dim(whole)) and node.users:
        start = sum(value.shape[dim] for value in whole.meta["val"][:position] if operation(whole) != "unbind")
        index = position if operation(whole) == "unbind" else slice(start, start + node.meta["val"].shape[dim])
        source = rewriter.graph.call_function(operator.getitem, (source, (*[slice(None)] * dim, index)))
    rewriter.env[node] = source


def pool(rewriter: "Rewriter", node: fx.Node) -> None:
    """The largest or smallest value in windows, or over entire dimensions."""
    positions = (user for user in node.users if user.target is operator.getitem and args_of(user)[1] == 1)
    if any(user.users for user in positions):
        return rewriter.reject(node, not_convertible.POSITIONS)
    if not rewriter.keeps_batch(node):
        return rewriter.reject(node, not_convertible.BATCH)
    kind, arguments = operation(node).removesuffix("_with_indices"), args_of(node)[1:]
    if kind in ("max", "min"):
        if not arguments or isinstance(arguments[0], fx.Node):
            return rewriter.reject(node, not_convertible.COMPARES if arguments else not_convertible.UNKNOWN)
        kind, arguments = f"a{kind}", ([arguments[0]], *arguments[1:])
    rewriter.module(node, MaxPool(kind, *arguments), rewriter.env[args_of(node)[0]], "stateful pool")


def scale(rewriter: "Rewriter", node: fx.Node) -> None:
    """A product with, or a quotient by, a number or a tensor of the network's own."""
    x, y = args_of(node)
    division = "div" in operation(node)
    if node.kwargs:  # a quotient that is rounded
        return rewriter.reject(node, not_convertible.UNKNOWN)
    if isinstance(x, fx.Node) and x.name in rewriter.tensors and not division:
        x, y = y, x
    if not isinstance(x, fx.Node) or x.name in rewriter.tensors:
        return rewriter.reject(node, not_convertible.DATA)
    if isinstance(y, fx.Node) and y.name not in rewriter.tensors:
        return rewriter.reject(node, not_convertible.DATA if division else not_convertible.PRODUCT)
    if not rewriter.keeps_batch(node):
        return rewriter.reject(node, not_convertible.BATCH)
    factor = rewriter.operand(y) if isinstance(y, fx.Node) else y
    rewriter.call(node, torch.div if division else torch.mul, rewriter.env[x], factor)


def contraction(rewriter: "Rewriter", node: fx.Node) -> None:
    """`einsum` or `matmul` of one value and one tensor of the network's own, which becomes its weight."""
    if operation(node) == "einsum":
        equation, operands = args_of(node)[:2]
    else:
        operands = list(args_of(node))
        equation = _matmul(*map(_dims, operands))
    fixed = [n.name in rewriter.tensors for n in operands]
    if len(operands) > 2 or all(fixed) or (len(operands) == 2 and not any(fixed)):
        return rewriter.reject(node, not_convertible.PRODUCT)
    if not rewriter.keeps_batch(node):
        return rewriter.reject(node, not_convertible.BATCH)
    if len(operands) == 1:
        return rewriter.call(node, torch.einsum, equation, rewriter.env[operands[0]])
    if fixed[0]:
        terms, arrow, out = equation.partition("->")
        equation = ",".join(reversed(terms.split(","))) + arrow + out
        operands = operands[::-1]
    weight = rewriter.tensors[operands[1].name].clone()
    rewriter.module(node, Contraction(equation, weight), rewriter.env[operands[0]], "weights")


def _matmul(x: int, y: int) -> str:
    """The einsum equation of `matmul` for tensors with x and y dimensions."""
    left, right = "k" if x == 1 else "...mk", "k" if y == 1 else "...kn"
    return f"{left},{right}->...{'m' * (x > 1)}{'n' * (y > 1)}"


def _dims(node: fx.Node) -> int:
    return node.meta["val"].dim()


def plain(rewriter: "Rewriter", node: fx.Node) -> None:
    """An operation of the table `LINEAR`, with the same arguments."""
    if not rewriter.keeps_batch(node) or _turns_images(node):
        return rewriter.reject(node, not_convertible.BATCH)
    function = LINEAR[node.target]  # type: ignore[index]
    own = any(n.name in rewriter.tensors for n in node.all_input_nodes)
    own |= function in (torch.add, torch.sub, torch.rsub) and not isinstance(args_of(node)[1], fx.Node)
    arguments, keywords = fx.map_arg((args_of(node), node.kwargs), rewriter.operand)
    rewriter.call(node, function, *arguments, role="affine" if own else "linear", **keywords)


def _turns_images(node: fx.Node) -> bool:
    """Whether `flip` or `roll` changes the order of the images."""
    dims = {"flip": args_of(node)[1:2], "roll": args_of(node)[2:3] or [[0]]}.get(operation(node), ())
    return any(dim % _dims(node) == 0 for listed in dims for dim in listed)


HANDLERS: dict[str, Callable[["Rewriter", fx.Node], None]] = {
    **dict.fromkeys(("view", "reshape", "flatten", "unsafe_view", "squeeze", "unsqueeze", "unflatten"), reshape),
    **dict.fromkeys(("expand", "expand_as"), expand),
    **dict.fromkeys(("slice", "narrow", "select"), take),
    "index": index,
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split", "unbind"), split),
    "getitem": part,
    **dict.fromkeys((f"{kind}max_pool{n}d{end}" for kind in ("", "adaptive_") for n in (1, 2, 3)
                     for end in ("", "_with_indices")), pool),
    **dict.fromkeys(("amax", "amin", "max", "min"), pool),
    **dict.fromkeys(("mul", "multiply", "div", "divide"), scale),
    **dict.fromkeys(("einsum", "matmul", "mm"), contraction),
}  # fmt: skip
SIZED = (reshape, expand)  # handlers that ignore sizes which the network computes


def handler(node: fx.Node) -> Callable[["Rewriter", fx.Node], None] | None:
    """The handler of a linear operation; None for any other."""
    if node.target in LINEAR:
        return plain
    known = node.target is operator.getitem or getattr(node.target, "namespace", "") == "aten"
    return HANDLERS.get(operation(node)) if known else None
