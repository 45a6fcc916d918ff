"""What a graph holds beside convolutions, linear layers and activations."""

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """y = scale * x + offset per channel: a batch norm that follows no weights, exact on the current of every step."""

    def __init__(self, scale: Tensor, offset: Tensor, dims: int):
        super().__init__()
        shape = (-1, *[1] * (dims - 2))
        self.scale, self.offset = nn.Parameter(scale.reshape(shape)), nn.Parameter(offset.reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


class Contraction(nn.Module):
    """einsum(equation, x, weight): the values of an image times a tensor of the network's own."""

    def __init__(self, equation: str, weight: Tensor):
        super().__init__()
        self.equation, self.weight, self.bias = equation, nn.Parameter(weight), None

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum(self.equation, x, self.weight)

    def products(self, shape: torch.Size) -> int:
        """How many products of two numbers there are for an input of this shape."""
        terms = self.equation.partition("->")[0]
        ones = (torch.ones(s, dtype=torch.double) for s in (shape, self.weight.shape))
        return int(torch.einsum(f"{terms}->", *ones))


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED, Contraction)  # what a written graph has weights in


class MaxPool(nn.Module):
    """Max-pooling, also adaptive or over whole dimensions.

    Over time it is the increment of the pooled cumulative current, so that its sum is exact at every step:

        p_t = maxpool(u_1 + ... + u_t) - maxpool(u_1 + ... + u_{t-1})

    (the mean of per-step maxima would not converge to the maximum of the means).
    """

    name: str

    def __init__(self, kind: str, *arguments):
        """`kind` is the ATen operation, such as `max_pool2d` or `amax`, and `arguments` are its others."""
        super().__init__()
        self.kind, self.arguments = kind, arguments

    def forward(self, x: Tensor) -> Tensor:
        pooled = getattr(torch.ops.aten, self.kind)(x, *self.arguments)
        return pooled if isinstance(pooled, Tensor) else pooled[0]  # the others are positions

    def init(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing seen: (cumulative current, its pooled value)."""
        total = torch.zeros_like(current)
        return total, self(total)

    def step(self, state: tuple[Tensor, Tensor], current: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """One step: (state, current (B, C, H, W)) -> (state, increment (B, C, H', W'))."""
        total = state[0] + current
        pooled = self(total)
        return (total, pooled), pooled - state[1]
