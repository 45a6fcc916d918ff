"""Linear operations with unit weights: each output is the sum of the inputs that it depends on."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ann2snn.graph.operations import INTERPOLATIONS


def unweighted_sum(x: Tensor, y: Tensor | float, *, alpha: float = 1) -> Tensor:
    """X + y, whatever the sign or factor of y."""
    return x + y


def first_argument(x: Tensor, *_, **__) -> Tensor:
    """x, for functions whose other arguments are constants."""
    return x


def nonzero_factor(x: Tensor, constant: Tensor | float) -> Tensor:
    """x, or zero where the factor is zero."""
    return x * (torch.as_tensor(constant) != 0)


def sum_pool(x: Tensor, kernel, stride=None, padding=0, ceil_mode=False, include=True, divisor=None) -> Tensor:
    """An average pool of one to three dimensions without its divisor."""
    pool = F.avg_pool3d if x.dim() == 5 else F.avg_pool2d
    if x.dim() > 3:
        return pool(x, kernel, stride or kernel, padding, ceil_mode, include, divisor_override=1)
    (kernel,), (padding,), (stride,) = (
        v if isinstance(v, list | tuple) else (v,) for v in (kernel, padding, stride or kernel)
    )
    return pool(x[:, :, None], (1, kernel), (1, stride), (0, padding), ceil_mode, include, divisor_override=1)[:, :, 0]


def adaptive_sum_pool(x: Tensor, size) -> Tensor:
    """An adaptive average pool of any number of dimensions without its divisors."""
    sizes = size if isinstance(size, list | tuple) else [size] * (x.dim() - 2)
    for dim, out in enumerate(sizes, 2):
        x = _along(x, dim, _windows(out, x.shape[dim]))
    return x


def _windows(out: int, size: int) -> Tensor:
    """(out, size): 1 where a window of an adaptive pool covers a position, else 0."""
    position = torch.arange(size)
    low, high = torch.arange(out) * size // out, -(-torch.arange(1, out + 1) * size // out)
    return ((position >= low[:, None]) & (position < high[:, None])).double()


def _along(x: Tensor, dim: int, matrix: Tensor) -> Tensor:
    """Multiplies one dimension of x by a matrix (out, size)."""
    return (x.movedim(dim, -1) @ matrix.T).movedim(-1, dim)


def interpolation(function: Callable) -> Callable:
    """An interpolation with unit weights: every value is the sum of the units that contribute to it.

    It is applied to one dimension after the other.
    """

    def unit_weights(x: Tensor, size: list[int] | None, align: bool, scales: list[float] | None) -> Tensor:
        for dim, n in enumerate(x.shape[2:]):
            one_dim = [n if other == dim else 1 for other in range(x.dim() - 2)]
            sizes, factors = (
                values and [value if other == dim else 1 for other, value in enumerate(values)]
                for values in (size, scales)
            )
            parts = function(torch.eye(n, dtype=x.dtype).reshape(n, 1, *one_dim), sizes, align, factors)
            x = _along(x, 2 + dim, (parts.reshape(n, -1).T.abs() > 1e-6).to(x.dtype))  # but for rounding
        return x

    return unit_weights


# functions that only move values have unit weights already
UNIT_WEIGHT_FUNCTIONS: dict[Callable, Callable] = {
    torch.add: unweighted_sum,
    torch.sub: unweighted_sum,
    torch.rsub: first_argument,
    torch.neg: first_argument,
    torch.mul: nonzero_factor,
    torch.div: nonzero_factor,
    torch.mean: torch.sum,
    **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), sum_pool),
    **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d), adaptive_sum_pool),
    **{function: interpolation(function) for function in INTERPOLATIONS},
}
