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
    """Threshold ReLU: clip(x - shift, 0, y_th) (Deng & Gu 2021, section 3).

    The gradient is 1 for 0 < x - shift < y_th and 0 elsewhere (in the paper it is 1 at the two edges too). The output
    has the shape of the input.

    Args:
        y_th: Upper bound; `inf` gives the ReLU.
        shift: Shift of the input in training, y_th / (2 T_ref) in the paper, in units of the activation.
        inplace: Ignored; timm passes it.

    Raises:
        UserError: `y_th` is not positive.
    """

    kind = "threshold_relu"
    name: str  # module path in the source network, set by `prepare`

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
    """clamp(x, 0, top), whose backward takes one pass and keeps the memory layout of x.

    The backward of `torch.clamp` takes ten times as long.
    """

    @staticmethod
    def forward(ctx, x: Tensor, top: float) -> Tensor:
        y = torch.clamp(x, 0, top)
        ctx.top = top
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (y,) = ctx.saved_tensors
        out = torch.empty_like(y)
        return torch.ops.aten.hardtanh_backward.grad_input(grad, y, 0.0, ctx.top, grad_input=out), None


class TCL(ThresholdReLU):
    """Trainable clipping layer: clip(x, 0, y_th) with a trained `y_th` (Ho & Chang 2021; lambda in the paper).

    Each module has one `y_th`. The gradient with respect to it is 1 where x > y_th and 0 below. The output has the
    shape of the input. The implementation follows the code of QCFS and SlipReLU, which compare with it.

    Args:
        y_th: Initial value, 4 as in that code.
        inplace: Ignored; timm passes it.
    """

    kind = "tcl"
    y_th: nn.Parameter  # type: ignore

    def __init__(self, y_th: float = 4.0, inplace: bool = False):
        super().__init__(y_th)
        self.y_th = nn.Parameter(torch.tensor(float(y_th)))

    def forward(self, x: Tensor) -> Tensor:
        return TrainedClip.apply(x, self.y_th, self) if self.training else self.parts(x)[0]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """(value, u, error): u is x / y_th clipped to [0, 1], and error is value / y_th - u."""
        return self.clip(x), (x / self.y_th).clamp_(0, 1), 0.0

    def clip(self, x: Tensor) -> Tensor:
        return torch.minimum(F.relu(x), self.y_th)

    def extra_repr(self) -> str:
        return f"y_th={self.y_th.item():g}"


class TrainedClip(torch.autograd.Function):
    """The value of a TCL or a subclass, whose backward takes few passes.

    The gradient with respect to x is 1 inside the clip. With respect to y_th it is (value - x) / y_th inside the clip
    and 1 above.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y_th: Tensor, activation: TCL) -> Tensor:
        value, u, error = activation.parts(x)
        above = torch.floor(u)
        inside = torch.ceil(u).sub_(above)
        ctx.save_for_backward(inside, above.add_(error))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_slope, y_th_slope = ctx.saved_tensors
        return grad * x_slope, (grad * y_th_slope).sum(dtype=torch.float32), None


ROUNDINGS = {"round": (torch.floor, 0.5), "floor": (torch.floor, 0.0), "ceil": (torch.ceil, 0.0)}


class QCFS(TCL):
    """Quantisation clip-floor-shift: y_th clip(floor(x L / y_th + 1/2) / L, 0, 1) (Bu et al. 2022).

    This is a clip quantised to L steps. A neuron with threshold y_th and initial potential y_th / 2 emits exactly this
    value in T = L steps of constant current. The gradient follows their code, which clips before it floors and passes
    the gradient straight through the floor: with respect to x it is 1 for 0 < x < y_th and 0 elsewhere; with respect to
    y_th it is (y - x) / y_th inside the clip, 0 below and 1 above. The output has the shape of the input.

    Args:
        L: Number of steps; `inf` gives the clip without quantisation.
        y_th: Initial value of the trained bound (lambda in the paper), one for each module; 8 as in their code.
        inplace: Ignored; timm passes it.
        rounding: A key of `ROUNDINGS`: to the nearest step as above, "floor" (down, for neurons that start at 0), or
            "ceil" (up, for neurons that start just below y_th).

    Raises:
        UserError: L is below 1.
    """

    kind = "qcfs"

    def __init__(self, L: float, y_th: float = 8.0, inplace: bool = False, rounding: str = "round"):
        super().__init__(y_th)
        if not L >= 1:
            raise UserError(f"The number of steps of a QCFS must be 1 or more, not {L}.")
        self.L, self.rounding = L, rounding

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        u = quantised = (x / self.y_th).clamp_(0, 1)
        if not math.isinf(self.L):
            round_, shift = ROUNDINGS[self.rounding]
            quantised = round_((u * self.L).add_(shift)).div_(self.L)
        return quantised * self.y_th, u, quantised - u

    def extra_repr(self) -> str:
        rounding = "" if self.rounding == "round" else f", {self.rounding}"
        return f"{super().extra_repr()}, L={self.L:g}{rounding}"


class SlipReLU(QCFS):
    """SlipReLU: a clip(x, 0, y_th) + (1 - a) QCFS(x) (Jiang et al. 2023).

    The gradient is that of QCFS. The output has the shape of the input.

    Args:
        L: Number of steps of the QCFS.
        a: Share of the clip, in [0, 1].
        y_th: Initial value of the trained bound, 8 as in their code.
        inplace: Ignored; timm passes it.

    Raises:
        UserError: L is below 1, or `a` is outside [0, 1].
    """

    kind = "slip_relu"

    def __init__(self, L: float, a: float, y_th: float = 8.0, inplace: bool = False):
        super().__init__(L, y_th)
        if not 0 <= a <= 1:
            raise UserError(f"The share of the clip in a SlipReLU lies in [0, 1]; {a} does not.")
        self.a = a

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        quantised, u, error = super().parts(x)
        return self.a * self.clip(x) + (1 - self.a) * quantised, u, (1 - self.a) * error

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, a={self.a:g}"


def make(spec: str) -> Callable[..., nn.Module]:
    """Factory of an activation, usable as timm's `act_layer`.

    Args:
        spec: `relu`, `threshold_relu:Y_TH`, `threshold_relu:Y_TH:T_REF` (shifted by y_th / (2 T_ref) in training),
            `tcl`, `qcfs:L`, `qcfs:L:floor`, `qcfs:L:ceil` or `slip_relu:L:A`.

    Raises:
        UserError: `spec` is none of these.
    """
    try:
        match spec.split(":"):
            case ["relu"]:
                return nn.ReLU
            case ["threshold_relu", y_th]:
                return partial(ThresholdReLU, float(y_th))
            case ["threshold_relu", y_th, T_ref]:
                return partial(ThresholdReLU, float(y_th), float(y_th) / (2 * int(T_ref)))
            case ["tcl"]:
                return TCL
            case ["qcfs", L]:
                return partial(QCFS, int(L))
            case ["qcfs", L, ("floor" | "ceil") as rounding]:
                return partial(QCFS, int(L), rounding=rounding)
            case ["slip_relu", L, a]:
                return partial(SlipReLU, int(L), float(a))
    except (ValueError, ZeroDivisionError):
        pass
    raise UserError(
        f"No activation is called {spec!r}; known are 'relu', 'threshold_relu:Y_TH', such as 'threshold_relu:1', 'tcl',"
        " 'qcfs:L', such as 'qcfs:4', and 'slip_relu:L:A', such as 'slip_relu:4:0.5'."
    )
