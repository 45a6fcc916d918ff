"""Modules of prepared networks besides convolutions, linear layers and activations."""

import torch
from torch import Tensor, nn

from ann2snn.networks.batch_norm import CONVOLUTIONS, TRANSPOSED


class Affine(nn.Module):
    """y = scale * x + offset per channel, such as a batch norm that follows no weights.

    Args:
        scale: (C,).
        offset: (C,).
        dims: Dimensions of the input (B, C, ...).
    """

    def __init__(self, scale: Tensor, offset: Tensor, dims: int):
        super().__init__()
        shape = (-1, *[1] * (dims - 2))
        self.scale, self.offset = nn.Parameter(scale.reshape(shape)), nn.Parameter(offset.reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


class Contraction(nn.Module):
    """einsum(equation, x, weight) with a tensor of the network's own as its weight."""

    def __init__(self, equation: str, weight: Tensor):
        super().__init__()
        self.equation, self.weight, self.bias = equation, nn.Parameter(weight), None

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum(self.equation, x, self.weight)

    def products(self, shape: torch.Size) -> int:
        """The number of multiplications for an input of this shape."""
        terms = self.equation.partition("->")[0]
        ones = (torch.ones(s, dtype=torch.double) for s in (shape, self.weight.shape))
        return int(torch.einsum(f"{terms}->", *ones))


WEIGHTED = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED, Contraction)  # the modules of a prepared network that have weights


class MaxPool(nn.Module):
    """Max-pooling, also adaptive or over entire dimensions.

    Over time it returns the increment of the pooled cumulative current, so that the sum is exact at every step:

        p_t = maxpool(u_1 + ... + u_t) - maxpool(u_1 + ... + u_{t-1})

    (The mean of per-step maxima would not converge to the maximum of the means.)

    Args:
        kind: The ATen operation, such as `max_pool2d` or `amax`.
        arguments: The arguments of the operation after its input.
    """

    name: str

    def __init__(self, kind: str, *arguments):
        super().__init__()
        self.kind, self.arguments = kind, arguments

    def forward(self, x: Tensor) -> Tensor:
        pooled = getattr(torch.ops.aten, self.kind)(x, *self.arguments)
        return pooled if isinstance(pooled, Tensor) else pooled[0]  # (values, indices)

    def init(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """The state before the first step: (cumulative current, its pooled value)."""
        total = torch.zeros_like(current)
        return total, self(total)

    def step(self, state: tuple[Tensor, Tensor], current: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """One step: (state, current (B, C, H, W)) -> (state, increment (B, C, H', W'))."""
        total = state[0] + current
        pooled = self(total)
        return (total, pooled), pooled - state[1]
