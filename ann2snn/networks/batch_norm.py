"""Folding of batch norms into the weights of the layer before them."""

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def folded_weights(layer: nn.Module, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(weight, bias) of the convolution `layer` with the batch norm after it folded in; `layer` is not changed."""
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()


def fold(
    layer: nn.Module | None, dims: int, mean: Tensor, variance: Tensor, eps: float, weight: Tensor, bias: Tensor
) -> bool:
    """Folds a batch norm over dimension 1 into `layer`, in place, and returns whether that was possible.

    Args:
        layer: The layer before the batch norm; anything but a convolution or a linear layer is left alone.
        dims: Dimensions of the layer's output.
        mean: Running mean (C,).
        variance: Running variance (C,).
        eps: Added to the variance.
        weight: Scale (C,).
        bias: Offset (C,).
    """
    norm = mean, variance, eps, weight, bias
    if isinstance(layer, nn.Linear) and dims == 2:
        layer.weight, layer.bias = fuse_linear_bn_weights(layer.weight, layer.bias, *norm)
    elif isinstance(layer, CONVOLUTIONS) and dims == layer.weight.dim():
        layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *norm)
    elif isinstance(layer, TRANSPOSED) and dims == layer.weight.dim():
        # fuse_conv_bn_weights knows no groups: (in / groups, groups, out / groups, ...) -> (in / groups, out, ...)
        grouped = layer.weight.unflatten(0, (layer.groups, -1)).transpose(0, 1)
        joined = nn.Parameter(grouped.flatten(1, 2), requires_grad=False)
        joined, layer.bias = fuse_conv_bn_weights(joined, layer.bias, *norm, transpose=True)
        layer.weight = nn.Parameter(joined.unflatten(1, grouped.shape[1:3]).transpose(0, 1).flatten(0, 1))
    else:
        return False
    return True
