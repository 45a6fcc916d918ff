"""Integrate-and-fire dynamics and its reset rules."""

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor, nn

from ann2snn.errors import UserError

Reset = Callable[[Tensor, Tensor, Tensor], Tensor]


def soft(m: Tensor, v_th: Tensor, fired: Tensor) -> Tensor:
    """Reset by subtraction: what exceeds the threshold stays (Deng & Gu 2021, eq. 3; Rueckauer 2017)."""
    return m - v_th * fired


def hard(m: Tensor, v_th: Tensor, fired: Tensor) -> Tensor:
    """Reset to zero: what exceeds the threshold is lost (Diehl 2015)."""
    return m.masked_fill(fired, 0)


RESETS: dict[str, Reset] = {"soft": soft, "hard": hard}


class Neuron(nn.Module):
    """A layer of neurons: currents in, spikes out.

    Either it goes step by step, with `init(current)` for the state before the first step and `step(state, current)` ->
    (state, spikes), all (B, ...); or it has `run(currents)` only, which takes a whole train (T, B, ...) and gives the
    train of its spikes: then `delay(T)` says how many steps pass before its first spike can leave.
    """

    name: str  # of the activation that it stands for

    def delay(self, T: int) -> int:
        return 0

    def forward(self, *_) -> NoReturn:
        raise UserError("A converted network runs over time: call simulate(snn, images, T) instead of the network.")


class IF(Neuron):
    """Integrate and fire, at most one spike a step:

        m <- m + current + shift;   s = [m >= v_th];   m <- reset(m, v_th, s);   out = v_th * s

    Spikes have the amplitude `v_th`, so weights are never rescaled. `v_th`, `shift` and `v_init` (the membrane at the
    start) have the unit of the activation and are numbers or tensors that broadcast over one image's (C, H, W) or (F,).
    """

    v_th: Tensor
    shift: Tensor
    v_init: Tensor

    def __init__(
        self, v_th: Tensor | float, reset: Reset = soft, shift: Tensor | float = 0.0, v_init: Tensor | float = 0.0
    ):
        super().__init__()
        self.reset = reset
        _own(self, v_th, shift, v_init)

    def init(self, current: Tensor) -> Tensor:
        """The membrane before the first step, for currents of this shape (B, ...)."""
        return self.v_init.expand_as(current)

    def step(self, m: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """One step: (membrane, current) -> (membrane, spikes), all (B, ...)."""
        return self.fire(m + current + self.shift)

    def fire(self, m: Tensor) -> tuple[Tensor, Tensor]:
        """(membrane after the reset, spikes) of a membrane that has heard its input."""
        fired = m >= self.v_th
        return self.reset(m, self.v_th, fired), self.v_th * fired

    def run(self, currents: Tensor) -> Tensor:
        """A whole train of currents (T, B, ...) -> its spikes (T, B, ...)."""
        state, spikes = self.init(currents[0]), []
        for current in currents:
            state, s = self.step(state, current)
            spikes.append(s)
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        return f"{_range(self.v_th)}, reset={self.reset.__name__}"


class SilentIF(IF):
    """A layer that never fires: it stands for an activation that was never active on the calibration images."""

    def __init__(self):
        super().__init__(1.0)

    def fire(self, m: Tensor) -> tuple[Tensor, Tensor]:
        return m, torch.zeros_like(m)

    def extra_repr(self) -> str:
        return "never fires"


class TimedIF(IF):
    """`IF` whose shift differs from step to step: `shift` (T, C, 1, 1), (T, C, H, W) or (T, F); none after T steps."""

    def init(self, current: Tensor) -> tuple[int, Tensor]:
        return 0, super().init(current)

    def step(self, state: tuple[int, Tensor], current: Tensor) -> tuple[tuple[int, Tensor], Tensor]:
        t, m = state
        m, spikes = self.fire(m + current + self.shift_at(t))
        return (t + 1, m), spikes

    def shift_at(self, t: int) -> Tensor:
        """The shift of step t, counted from 0."""
        return self.shift[t] if t < len(self.shift) else torch.zeros_like(self.shift[0])


class StagedIF(IF):
    """`IF` in two stages: what `first` steps leave, the membranes m (B, ...), becomes `again(m)`, the subclass's."""

    def __init__(self, first: int, v_th: Tensor | float, shift: Tensor | float = 0.0, v_init: Tensor | float = 0.0):
        super().__init__(v_th, shift=shift, v_init=v_init)
        self.first = first

    def init(self, current: Tensor) -> tuple[int, Tensor]:
        return 0, super().init(current)

    def step(self, state: tuple[int, Tensor], current: Tensor) -> tuple[tuple[int, Tensor], Tensor]:
        t, m = state
        m, spikes = super().step(m, current)
        return (t + 1, self.after(t + 1, m)), spikes

    def after(self, t: int, m: Tensor) -> Tensor:
        """The membranes after t steps that left m."""
        return self.again(m) if t == self.first else m

    def again(self, m: Tensor) -> Tensor:
        raise NotImplementedError


class WholeTrain(Neuron):
    """Hears all T steps before its first spike; `v_th`, `shift` and `v_init` are as those of `IF`.

    When it fires, `fired(currents)` (T, B, ...) -> (T, B, ...) of bool, is the subclass's; a spike is worth `worth`.
    What a unit has heard in the end is `heard(currents)` (B, ...). The simulator may hand over `Currents`, which
    are added up late: length, slices and steps are as a tensor's, and `heard_by` and `fired_by` hear them in C.
    """

    v_th: Tensor
    shift: Tensor
    v_init: Tensor

    def __init__(self, v_th: Tensor | float, shift: Tensor | float = 0.0, v_init: Tensor | float = 0.0):
        super().__init__()
        _own(self, v_th, shift, v_init)

    @property
    def worth(self) -> Tensor:
        return self.v_th

    def run(self, currents: Tensor) -> Tensor:
        return self.worth * self.fired(currents)

    def fired(self, currents: Tensor) -> Tensor:
        raise NotImplementedError

    def delay(self, T: int) -> int:
        return T

    def heard(self, currents: Tensor) -> Tensor:
        """The start and the currents and shifts of all steps, added up in their order."""
        m = self.v_init
        for current in currents:
            m = m + current + self.shift
        return m

    def extra_repr(self) -> str:
        return _range(self.v_th)


def trains_like(one: Tensor, steps: int) -> Tensor:
    """No spikes yet: (steps, B, ...) of bool, each step in memory as `one` (B, ...)."""
    one = torch.empty_like(one, dtype=torch.bool)
    shape, strides = (steps, *one.shape), (one.numel(), *one.stride())
    return torch.empty_strided(shape, strides, dtype=torch.bool, device=one.device).zero_()


def _own(neuron: IF | WholeTrain, v_th: Tensor | float, shift: Tensor | float, v_init: Tensor | float) -> None:
    for name, value in {"v_th": v_th, "shift": shift, "v_init": v_init}.items():
        neuron.register_buffer(name, torch.as_tensor(value, dtype=getattr(value, "dtype", torch.float32)))
    if not (torch.isfinite(neuron.v_th) & (neuron.v_th > 0)).all():
        raise UserError("Every threshold of a spiking layer must be positive and finite.")


def _range(v_th: Tensor) -> str:
    low, high = v_th.min().item(), v_th.max().item()
    return f"v_th={low:g}" + (f"..{high:g}" if high > low else "")
