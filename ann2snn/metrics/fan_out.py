"""Which units of its input reach which of its output, for every linear operation of a graph: each as a map of ones."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ann2snn.graph.operations import INTERPOLATIONS


def plain_sum(x: Tensor, y: Tensor | float, *, alpha: float = 1) -> Tensor:
    return x + y


def left(x: Tensor, *_, **__) -> Tensor:
    return x


def factor(x: Tensor, constant: Tensor | float) -> Tensor:
    """A factor of zero passes nothing on."""
    return x * (torch.as_tensor(constant) != 0)


def sum_pool(x: Tensor, kernel, stride=None, padding=0, ceil_mode=False, include=True, divisor=None) -> Tensor:
    """The average pools of one to three dimensions as sums."""
    pool = F.avg_pool3d if x.dim() == 5 else F.avg_pool2d
    if x.dim() > 3:
        return pool(x, kernel, stride or kernel, padding, ceil_mode, include, divisor_override=1)
    (kernel,), (padding,), (stride,) = (
        v if isinstance(v, list | tuple) else (v,) for v in (kernel, padding, stride or kernel)
    )
    return pool(x[:, :, None], (1, kernel), (1, stride), (0, padding), ceil_mode, include, divisor_override=1)[:, :, 0]


def adaptive_sum_pool(x: Tensor, size) -> Tensor:
    sizes = size if isinstance(size, list | tuple) else [size] * (x.dim() - 2)
    for dim, out in enumerate(sizes, 2):
        x = _along(x, dim, _windows(out, x.shape[dim]))
    return x


def _windows(out: int, size: int) -> Tensor:
    """(out, size): which places every window of an adaptive pool covers."""
    place = torch.arange(size)
    low, high = torch.arange(out) * size // out, -(-torch.arange(1, out + 1) * size // out)
    return ((place >= low[:, None]) & (place < high[:, None])).double()


def _along(x: Tensor, dim: int, matrix: Tensor) -> Tensor:
    """The product of a matrix (out, size) with one dimension of x."""
    return (x.movedim(dim, -1) @ matrix.T).movedim(-1, dim)


def interpolation(function: Callable) -> Callable:
    """The pattern of an interpolation, which goes along one dimension after the other: a unit reaches every value that
    it has a part in."""

    def reach(x: Tensor, size: list[int] | None, align: bool, scales: list[float] | None) -> Tensor:
        for place, n in enumerate(x.shape[2:]):
            one = [n if other == place else 1 for other in range(x.dim() - 2)]
            sizes, factors = (
                values and [value if other == place else 1 for other, value in enumerate(values)]
                for values in (size, scales)
            )
            parts = function(torch.eye(n, dtype=x.dtype).reshape(n, 1, *one), sizes, align, factors)
            x = _along(x, 2 + place, (parts.reshape(n, -1).T.abs() > 1e-6).to(x.dtype))  # but for rounding
        return x

    return reach


# what moves values only is a map of ones already
ONES: dict[Callable, Callable] = {
    torch.add: plain_sum,
    torch.sub: plain_sum,
    torch.rsub: left,
    torch.neg: left,
    torch.mul: factor,
    torch.div: factor,
    torch.mean: torch.sum,
    **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), sum_pool),
    **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d), adaptive_sum_pool),
    **{function: interpolation(function) for function in INTERPOLATIONS},
}
