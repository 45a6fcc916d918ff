"""Constant factors and offsets per channel: normalised inputs, frozen batch norms, scaled branches."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from ann2snn.graph.modules import CONVOLUTIONS, Affine
from ann2snn.graph.operations import aten, operation

if TYPE_CHECKING:
    from ann2snn.graph.rewriter import Rewriter

TARGETS = (aten.mul.Tensor, aten.mul_.Tensor, aten.div.Tensor, aten.div_.Tensor, aten.add.Tensor, aten.add_.Tensor,
           aten.sub.Tensor, aten.sub_.Tensor, aten.rsub.Scalar, aten.neg.default)  # fmt: skip


def affine_of(node: fx.Node, constants: dict[str, Tensor]) -> tuple[fx.Node, Tensor, Tensor] | None:
    """(source, scale, offset) of a node that is scale * source + offset per channel, both (C,); else None."""
    inputs = [n for n in node.all_input_nodes if n.name not in constants]
    if node.target not in TARGETS or len(inputs) != 1 or node.kwargs.get("alpha", 1) != 1 or len(node.args) > 2:
        return None
    (source,) = inputs
    value, shape = source.meta["val"], node.meta["val"].shape
    if not isinstance(value, Tensor) or value.dim() < 2 or shape != value.shape or not isinstance(shape[1], int):
        return None
    other = next((argument for argument in node.args if argument is not source), 1.0)
    if isinstance(other, fx.Node):
        other = constants.get(other.name)
    constant = _per_channel(other, value)
    if constant is None or node.args.count(source) > 1:
        return None
    is_first = bool(node.args) and node.args[0] is source
    one, zero = torch.ones_like(constant), torch.zeros_like(constant)
    match operation(node):
        case "mul":
            return source, constant, zero
        case "div" if is_first:
            return source, 1 / constant, zero
        case "add":
            return source, one, constant
        case "sub" if is_first:
            return source, one, -constant
        case "sub" | "rsub":
            return source, -one, constant
        case "neg":
            return source, -one, zero
    return None


def _per_channel(constant: object, value: Tensor) -> Tensor | None:
    """`constant` as (C,), one number per channel of `value` (B, C, ...); None where it varies within channels."""
    constant = torch.as_tensor(constant, dtype=value.dtype)
    shape = (*[1] * (value.dim() - constant.dim()), *constant.shape)
    if any(size != 1 for i, size in enumerate(shape) if i != 1):
        return None
    return constant.reshape(-1).expand(value.shape[1]).clone()


def rewrite(rewriter: "Rewriter", node: fx.Node) -> bool:
    """Rule for a constant factor or offset per channel; does not apply to an offset that cannot be folded."""
    affine = affine_of(node, rewriter.tensors)
    if affine is None or affine[0] not in rewriter.env:
        return False
    source, scale, offset = affine
    layer, dims = rewriter.layer_before(source), source.meta["val"].dim()
    if layer is not None and fold(layer, scale, offset, dims):
        rewriter.env[node] = rewriter.env[source]
        rewriter.report_node(node, "folded", f"into {layer.name}")
    elif operation(node) == "add":
        return False
    else:
        rewriter.module(node, Affine(scale, offset, dims), rewriter.env[source], "affine")
    return True


def fold(layer: nn.Module, scale: Tensor, offset: Tensor, dims: int) -> bool:
    """Folds scale * y + offset per channel into the layer of y (of `dims` dimensions); False where it cannot."""
    if isinstance(layer, Affine):
        shape = layer.scale.shape
        layer.scale = nn.Parameter(layer.scale * scale.reshape(shape))
        layer.offset = nn.Parameter(layer.offset * scale.reshape(shape) + offset.reshape(shape))
        return True
    if isinstance(layer, (nn.Linear, *CONVOLUTIONS)) and dims == layer.weight.dim():
        bias = 0 if layer.bias is None else layer.bias * scale
        layer.weight = nn.Parameter(layer.weight * scale.reshape(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias = nn.Parameter(bias + offset) if layer.bias is not None or offset.any() else None  # type: ignore
        return True
    return False
