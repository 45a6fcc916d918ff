"""What a graph holds beside convolutions, linear layers and activations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Affine(nn.Module):
    """y = scale * x + offset per channel: a batch norm that follows no weights, exact on the current of every step."""

    def __init__(self, scale: Tensor, offset: Tensor, dims: int):
        super().__init__()
        shape = (-1, *[1] * (dims - 2))
        self.scale, self.offset = nn.Parameter(scale.reshape(shape)), nn.Parameter(offset.reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


class MaxPool(nn.Module):
    """Max-pooling; over time the increment of the pooled cumulative current, so that its sum is exact at every step:

        p_t = maxpool(u_1 + ... + u_t) - maxpool(u_1 + ... + u_{t-1})

    (the mean of per-step maxima would not converge to the maximum of the means).
    """

    name: str

    def __init__(self, *arguments):
        super().__init__()
        self.arguments = arguments

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, *self.arguments)

    def init(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing seen: (cumulative current, its pooled value)."""
        total = torch.zeros_like(current)
        return total, self(total)

    def step(self, state: tuple[Tensor, Tensor], current: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """One step: (state, current (B, C, H, W)) -> (state, increment (B, C, H', W'))."""
        total = state[0] + current
        pooled = self(total)
        return (total, pooled), pooled - state[1]
