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

    kind = "threshold_relu"
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


class TCL(ThresholdReLU):
    """clip(x, 0, y_th) with a trained `y_th` (their lambda): a trainable clipping layer (Ho & Chang 2021).

    One `y_th` for each module, which starts at 4 as in the codes of QCFS and SlipReLU, where they compare with it. The
    gradient with respect to y_th is 1 where x > y_th and 0 below. Any shape in, the same shape out. Read: those codes.
    """

    kind = "tcl"
    y_th: nn.Parameter  # type: ignore

    def __init__(self, y_th: float = 4.0, inplace: bool = False):
        super().__init__(y_th)
        self.y_th = nn.Parameter(torch.tensor(float(y_th)))

    def forward(self, x: Tensor) -> Tensor:
        return TrainedClip.apply(x, self.y_th, self) if self.training else self.parts(x)[0]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """The value, u = x / y_th between 0 and 1, and (value - x) / y_th there."""
        return self.clip(x), (x / self.y_th).clamp_(0, 1), 0.0

    def clip(self, x: Tensor) -> Tensor:
        return torch.minimum(F.relu(x), self.y_th)

    def extra_repr(self) -> str:
        return f"y_th={self.y_th.item():g}"


class TrainedClip(torch.autograd.Function):
    """The value of a TCL or its stairs, with the gradients that they state, in few passes.

    With respect to x it is 1 inside of the clip; with respect to y_th it is (value - x) / y_th there and 1 above.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y_th: Tensor, activation: TCL) -> Tensor:
        value, u, excess = activation.parts(x)
        above = torch.floor(u)
        inside = torch.ceil(u).sub_(above)
        ctx.save_for_backward(inside, above.add_(excess))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        inside, of_y_th = ctx.saved_tensors
        return grad * inside, (grad * of_y_th).sum(dtype=torch.float32), None


ROUNDINGS = {"round": (torch.floor, 0.5), "floor": (torch.floor, 0.0), "ceil": (torch.ceil, 0.0)}


class QCFS(TCL):
    """y_th clip(floor(x L / y_th + 1/2) / L, 0, 1): quantisation clip-floor-shift (Bu et al. 2022), stairs of L steps.

    `y_th` (their lambda) is a parameter, one for each module, and starts at 8 as in their code. L = inf is the clip
    that the stairs go round. A neuron with the threshold y_th that starts at y_th / 2 fires exactly this value in T = L
    steps of constant current. `rounding` is one of ROUNDINGS: to the nearest step as above, or down ("floor": from a
    start at 0), or up ("ceil": from just below y_th).

    The gradient is that of their code, which clips before it floors and goes straight through the floor: with respect
    to x it is 1 for 0 < x < y_th and 0 elsewhere; with respect to y_th it is (y - x) / y_th there, 0 below and 1 above.
    Any shape in, the same shape out. Read: the code.
    """

    kind = "qcfs"

    def __init__(self, L: float, y_th: float = 8.0, inplace: bool = False, rounding: str = "round"):
        super().__init__(y_th)
        if not L >= 1:
            raise UserError(f"The number of steps of a QCFS must be 1 or more, not {L}.")
        self.L, self.rounding = L, rounding

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        u = stairs = (x / self.y_th).clamp_(0, 1)
        if not math.isinf(self.L):
            rounded, shift = ROUNDINGS[self.rounding]
            stairs = rounded((u * self.L).add_(shift)).div_(self.L)
        return stairs * self.y_th, u, stairs - u

    def extra_repr(self) -> str:
        rounding = "" if self.rounding == "round" else f", {self.rounding}"
        return f"{super().extra_repr()}, L={self.L:g}{rounding}"


class SlipReLU(QCFS):
    """a clip(x, 0, y_th) + (1 - a) QCFS(x): stairs that lean towards the clip (Jiang et al. 2023), 0 <= a <= 1.

    `y_th` starts at 8 as in their code. The gradient is that of QCFS. Any shape in, the same shape out. Read: the code.
    """

    kind = "slip_relu"

    def __init__(self, L: float, a: float, y_th: float = 8.0, inplace: bool = False):
        super().__init__(L, y_th)
        if not 0 <= a <= 1:
            raise UserError(f"The share of the clip in a SlipReLU lies in [0, 1]; {a} does not.")
        self.a = a

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        stairs, u, excess = super().parts(x)
        return self.a * self.clip(x) + (1 - self.a) * stairs, u, (1 - self.a) * excess

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, a={self.a:g}"


def make(spec: str) -> Callable[..., nn.Module]:
    """The activation class of a name, usable as timm's `act_layer`.

    `relu`, `threshold_relu:Y_TH`, `threshold_relu:Y_TH:T_REF` (shifted by y_th / (2 T_ref) in the training), `tcl`,
    `qcfs:L`, `qcfs:L:floor`, `qcfs:L:ceil` or `slip_relu:L:A`.
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
