"""Batch norm, folded into the weights before it."""

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from ann2snn.graph.modules import CONVOLUTIONS, TRANSPOSED


def fold(
    layer: nn.Module | None, dims: int, mean: Tensor, variance: Tensor, eps: float, weight: Tensor, bias: Tensor
) -> bool:
    """Folds a batch norm over dimension 1 of `layer`'s output (`dims` dimensions) into the layer, where it has weights
    for that."""
    norm = mean, variance, eps, weight, bias
    if isinstance(layer, nn.Linear) and dims == 2:
        layer.weight, layer.bias = fuse_linear_bn_weights(layer.weight, layer.bias, *norm)
    elif isinstance(layer, CONVOLUTIONS) and dims == layer.weight.dim():
        layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *norm)
    elif isinstance(layer, TRANSPOSED) and dims == layer.weight.dim():
        grouped = layer.weight.unflatten(0, (layer.groups, -1)).transpose(
            0, 1
        )  # (in / groups, groups, out / groups, ..)
        joined = nn.Parameter(grouped.flatten(1, 2), requires_grad=False)
        joined, layer.bias = fuse_conv_bn_weights(joined, layer.bias, *norm, transpose=True)
        layer.weight = nn.Parameter(joined.unflatten(1, grouped.shape[1:3]).transpose(0, 1).flatten(0, 1))
    else:
        return False
    return True
