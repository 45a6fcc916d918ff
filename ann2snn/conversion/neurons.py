"""Integrate-and-fire neurons and their reset rules."""

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor, nn

from ann2snn.errors import UserError

Reset = Callable[[Tensor, Tensor, Tensor], Tensor]


def soft(m: Tensor, v_th: Tensor, fired: Tensor) -> Tensor:
    """Reset by subtraction: the membrane keeps what exceeds the threshold (Deng & Gu 2021, eq. 3; Rueckauer 2017)."""
    return m - v_th * fired


def hard(m: Tensor, v_th: Tensor, fired: Tensor) -> Tensor:
    """Reset to zero: the membrane loses what exceeds the threshold (Diehl 2015)."""
    return m.masked_fill(fired, 0)


RESETS: dict[str, Reset] = {"soft": soft, "hard": hard}


class Neuron(nn.Module):
    """Base class of a layer of spiking neurons, which turns input currents into spikes.

    A subclass is one of two kinds. A single-step neuron has `init(current)`, which returns the state before the first
    step, and `step(state, current)`, which returns the next state and the spikes, all (B, ...). A multi-step neuron
    has `run(currents)` alone, which takes the currents (T, B, ...) of all steps and returns their spikes; its
    `delay(T)` is the number of steps before its first spike can leave.
    """

    name: str  # of the activation that it replaces

    def delay(self, T: int) -> int:
        """Steps that the layer adds to the latency of the network."""
        return 0

    def forward(self, *_) -> NoReturn:
        raise UserError("A converted network runs over time: call simulate(snn, images, T) instead of the network.")


class IF(Neuron):
    """Integrate-and-fire neuron with at most one spike per step:

        m <- m + current + shift;   s = [m >= v_th];   m <- reset(m, v_th, s);   out = v_th * s

    Spikes have the amplitude `v_th`, so weights are never rescaled.

    Args:
        v_th: Firing threshold, in units of the activation. Like `shift` and `v_init`, a number or a tensor that
            broadcasts over the activation of one image, (C, H, W) or (F,).
        reset: Reset rule, `soft` or `hard`.
        shift: Constant that is added to the current of every step.
        v_init: Membrane potential before the first step.

    Raises:
        UserError: A threshold is not positive or not finite.
    """

    v_th: Tensor
    shift: Tensor
    v_init: Tensor

    def __init__(
        self, v_th: Tensor | float, reset: Reset = soft, shift: Tensor | float = 0.0, v_init: Tensor | float = 0.0
    ):
        super().__init__()
        self.reset = reset
        _register(self, v_th, shift, v_init)

    def init(self, current: Tensor) -> Tensor:
        """Membrane potentials (B, ...) before the first step; `current` (B, ...) has the shape of the layer."""
        return self.v_init.expand_as(current)

    def step(self, m: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """One step: membrane and current -> membrane and spikes, all (B, ...)."""
        return self.fire(m + current + self.shift)

    def fire(self, m: Tensor) -> tuple[Tensor, Tensor]:
        """Membrane after the reset, and spikes, of a membrane that has integrated the current."""
        fired = m >= self.v_th
        return self.reset(m, self.v_th, fired), self.v_th * fired

    def run(self, currents: Tensor) -> Tensor:
        """Spikes (T, B, ...) of the currents (T, B, ...)."""
        state, spikes = self.init(currents[0]), []
        for current in currents:
            state, s = self.step(state, current)
            spikes.append(s)
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        return f"{_range(self.v_th)}, reset={self.reset.__name__}"


class SilentIF(IF):
    """A layer that never fires. It replaces an activation that was never active on the calibration images."""

    def __init__(self):
        super().__init__(1.0)

    def fire(self, m: Tensor) -> tuple[Tensor, Tensor]:
        return m, torch.zeros_like(m)

    def extra_repr(self) -> str:
        return "never fires"


class TimeVaryingIF(IF):
    """`IF` with a shift per step: (T, C, 1, 1), (T, C, H, W) or (T, F). After T steps the shift is zero."""

    def init(self, current: Tensor) -> tuple[int, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 0, super().init(current)

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state: tuple[int, Tensor], current: Tensor
    ) -> tuple[tuple[int, Tensor], Tensor]:
        t, m = state
        m, spikes = self.fire(m + current + self.shift_at(t))
        return (t + 1, m), spikes

    def shift_at(self, t: int) -> Tensor:
        """Shift of step t, counted from 0."""
        return self.shift[t] if t < len(self.shift) else torch.zeros_like(self.shift[0])


class StagedIF(IF):
    """`IF` in two stages. After `switch_step` steps, `reinitialize` replaces the membrane potentials.

    Args:
        switch_step: Number of steps in the first stage.
        v_th: See `IF`, as for `shift` and `v_init`. The reset is soft.
    """

    def __init__(
        self, switch_step: int, v_th: Tensor | float, shift: Tensor | float = 0.0, v_init: Tensor | float = 0.0
    ):
        super().__init__(v_th, shift=shift, v_init=v_init)
        self.switch_step = switch_step

    def init(self, current: Tensor) -> tuple[int, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 0, super().init(current)

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state: tuple[int, Tensor], current: Tensor
    ) -> tuple[tuple[int, Tensor], Tensor]:
        t, m = state
        m, spikes = super().step(m, current)
        return (t + 1, self.after_step(t + 1, m)), spikes

    def after_step(self, t: int, m: Tensor) -> Tensor:
        """Membrane potentials m (B, ...) after t steps, reinitialized if these are the first stage."""
        return self.reinitialize(m) if t == self.switch_step else m

    def reinitialize(self, m: Tensor) -> Tensor:
        """Membrane potentials (B, ...) at the start of the second stage, from those at the end of the first."""
        raise NotImplementedError


class MultiStepNeuron(Neuron):
    """Base class of neurons that receive the currents of all T steps before their first spike.

    A subclass implements `spike_train`. The simulator may pass a `CurrentSequence` instead of a tensor: it computes
    the currents on demand, has the length, slices and iteration of a tensor (T, B, ...), and `integrate` and
    `spike_train_of` process it in compiled code.

    Args:
        v_th: Firing threshold; see `IF`, as for `shift` and `v_init`.
    """

    v_th: Tensor
    shift: Tensor
    v_init: Tensor

    def __init__(self, v_th: Tensor | float, shift: Tensor | float = 0.0, v_init: Tensor | float = 0.0):
        super().__init__()
        _register(self, v_th, shift, v_init)

    @property
    def spike_amplitude(self) -> Tensor:
        """Amplitude of a spike, by default the threshold."""
        return self.v_th

    def run(self, currents: Tensor) -> Tensor:
        """Spikes (T, B, ...) in units of the activation, of the currents (T, B, ...)."""
        return self.spike_amplitude * self.spike_train(currents)

    def spike_train(self, currents: Tensor) -> Tensor:
        """Binary spike train (T, B, ...), bool, of the currents (T, B, ...)."""
        raise NotImplementedError

    def delay(self, T: int) -> int:
        return T

    def integrate(self, currents: Tensor) -> Tensor:
        """Membrane potentials (B, ...) after all steps without firing, added up in the order of the steps."""
        m = self.v_init
        for current in currents:
            m = m + current + self.shift
        return m

    def extra_repr(self) -> str:
        return _range(self.v_th)


def zero_spike_train(like: Tensor, steps: int) -> Tensor:
    """A spike train of zeros (steps, B, ...), bool; every step has the memory layout of `like` (B, ...)."""
    like = torch.empty_like(like, dtype=torch.bool)
    shape, strides = (steps, *like.shape), (like.numel(), *like.stride())
    return torch.empty_strided(shape, strides, dtype=torch.bool, device=like.device).zero_()


def _register(
    neuron: IF | MultiStepNeuron, v_th: Tensor | float, shift: Tensor | float, v_init: Tensor | float
) -> None:
    for name, value in {"v_th": v_th, "shift": shift, "v_init": v_init}.items():
        neuron.register_buffer(name, torch.as_tensor(value, dtype=getattr(value, "dtype", torch.float32)))
    if not (torch.isfinite(neuron.v_th) & (neuron.v_th > 0)).all():
        raise UserError("Every threshold of a spiking layer must be positive and finite.")


def _range(v_th: Tensor) -> str:
    low, high = v_th.min().item(), v_th.max().item()
    return f"v_th={low:g}" + (f"..{high:g}" if high > low else "")
