"""Handlers of operations with weights: convolutions, linear layers and batch norms.

A handler takes the rewriter and the exported node.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from ann2snn.graph import not_convertible
from ann2snn.graph.modules import CONVOLUTIONS, TRANSPOSED, Affine
from ann2snn.graph.operations import args_of, operation
from ann2snn.networks.batch_norm import fold

if TYPE_CHECKING:
    from ann2snn.graph.rewriter import Rewriter


def convolution(rewriter: "Rewriter", node: fx.Node) -> None:
    """A convolution or transposed convolution, as a module."""
    parameters = _parameters(rewriter, node)
    if parameters is None:
        return rewriter.reject(node, not_convertible.WEIGHTS)
    weight, bias = parameters
    n = weight.dim() - 2
    given = args_of(node)[3:]
    kernel: Any = tuple(weight.shape[2:])
    defaults: tuple[Any, ...]
    if "transpose" in operation(node):
        defaults = ([1] * n, [0] * n, [0] * n, 1, [1] * n)
        stride, padding, output_padding, groups, dilation = (*given, *defaults[len(given) :])
        layer = TRANSPOSED[n - 1](weight.shape[0], weight.shape[1] * groups, kernel, stride, padding,
                                  output_padding, groups, bias is not None, dilation, device="meta")  # fmt: skip
    else:
        defaults = ([1] * n, [0] * n, [1] * n, 1)
        stride, padding, dilation, groups = (*given, *defaults[len(given) :])
        layer = CONVOLUTIONS[n - 1](weight.shape[1] * groups, weight.shape[0], kernel, stride,
                                    padding, dilation, groups, bias is not None, device="meta")  # fmt: skip
    _add(rewriter, node, layer, weight, bias)


def linear(rewriter: "Rewriter", node: fx.Node) -> None:
    """A linear layer, as a module."""
    parameters = _parameters(rewriter, node)
    if parameters is None:
        return rewriter.reject(node, not_convertible.WEIGHTS)
    weight, bias = parameters
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    _add(rewriter, node, layer, weight, bias)


def batch_norm(rewriter: "Rewriter", node: fx.Node) -> None:
    """A batch norm: folded into the layer before it, or an `Affine` where there is none."""
    source, *names = args_of(node)[:5]
    weight, bias, mean, variance = (None if n is None else rewriter.tensors.get(n.name) for n in names)
    training, _, eps = args_of(node)[5:8]
    if training or mean is None or variance is None:
        return rewriter.reject(node, not_convertible.STATISTICS)
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    layer, dims = rewriter.layer_before(source), source.meta["val"].dim()
    if layer is not None and fold(layer, dims, mean, variance, eps, weight, bias):
        rewriter.env[node] = rewriter.env[source]
        return rewriter.report_node(node, "folded", f"into {layer.name}")
    scale = (variance + eps).rsqrt() * weight
    note = "follows no weights of its own: kept as an exact affine map"
    rewriter.module(node, Affine(scale, bias - mean * scale, dims), rewriter.env[source], "affine", note)


def _parameters(rewriter: "Rewriter", node: fx.Node) -> tuple[Tensor, Tensor | None] | None:
    """Copies of (weight, bias); None where the network computes one of them."""
    names = [n.name if isinstance(n, fx.Node) else n for n in (*args_of(node)[1:3], None)[:2]]
    if any(name is not None and name not in rewriter.tensors for name in names):
        return None
    copies: list[Any] = [None if name is None else rewriter.tensors[name].clone() for name in names]
    return copies[0], copies[1]


def _add(rewriter: "Rewriter", node: fx.Node, layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    layer.weight = nn.Parameter(weight)
    layer.bias = None if bias is None else nn.Parameter(bias)  # type: ignore[assignment]
    rewriter.module(node, layer, rewriter.env[args_of(node)[0]], "weights")


HANDLERS: dict[str, Callable[["Rewriter", fx.Node], None]] = {
    **dict.fromkeys((f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)), convolution),
    "linear": linear,
    "batch_norm": batch_norm,
}
