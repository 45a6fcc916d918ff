"""The activations of source networks."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ann2snn.errors import UserError


class ThresholdReLU(nn.Module):
    """h(x - shift), h(x) = clip(x, 0, y_th): the threshold ReLU (Deng & Gu 2021, section 3).

    The gradient is 1 for 0 < x - shift < y_th and 0 elsewhere (the paper's is 1 at the two edges too). `y_th` = inf is
    the ReLU. `shift` is the optional shift of the training, y_th / (2 T_ref), in units of the activation. Any shape in,
    the same shape out.
    """

    name: str  # its place, once in a graph

    def __init__(self, y_th: float = 1.0, shift: float = 0.0, inplace: bool = False):
        super().__init__()
        if not y_th > 0:
            raise UserError(f"The threshold of a threshold ReLU must be positive, not {y_th}.")
        self.y_th, self.shift = float(y_th), float(shift)

    def forward(self, x: Tensor) -> Tensor:
        if self.shift:
            x = x - self.shift
        if math.isinf(self.y_th):
            return F.relu(x)
        return Clip.apply(x, self.y_th) if self.training else torch.clamp(x, 0, self.y_th)

    def extra_repr(self) -> str:
        return f"y_th={self.y_th:g}" + (f", shift={self.shift:g}" if self.shift else "")


class Clip(torch.autograd.Function):
    """clamp(x, 0, top) with a backward in one pass and in the layout of x: clamp's own takes ten times as long."""

    @staticmethod
    def forward(ctx, x: Tensor, top: float) -> Tensor:
        y = torch.clamp(x, 0, top)
        ctx.top = top
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        out = torch.empty_like(y)
        return torch.ops.aten.hardtanh_backward.grad_input(grad, y, 0.0, ctx.top, grad_input=out), None


def make(spec: str) -> Callable[..., nn.Module]:
    """The activation class of a name: `relu`, or `threshold_relu:Y_TH`; usable as timm's `act_layer`."""
    name, _, value = spec.partition(":")
    if spec == "relu":
        return nn.ReLU
    if name == "threshold_relu" and value:
        try:
            return partial(ThresholdReLU, float(value))
        except ValueError:
            pass
    raise UserError(
        f"No activation is called {spec!r}; known are 'relu' and 'threshold_relu:Y_TH', such as 'threshold_relu:1'."
    )
