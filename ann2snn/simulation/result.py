"""Outputs, spike counts and predictions of a simulation."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ann2snn.errors import UserError


@dataclass
class Result:
    """Results of a simulation at every step t that was read.

    The methods take t, which is by default the last step.

    Attributes:
        outputs: Accumulated output of the steps warmup + 1 .. t: (N, classes), or (N, classes, H, W) for a network
            that classifies pixels.
        events: Events per unit in the steps 1 .. t, summed over the images: for every layer a tensor (C, H, W) or
            (F,). Events are the spikes of a neuron and the non-zero increments of a max-pool.
        pools: Names of the max-pools among the layers of `events`.
        seconds: Wall time to reach step t, for all images.
        latency: Steps until the output of step t is available: t, and the delays of layers that wait for later steps.
        warmup: Steps before the read-out begins.
    """

    outputs: dict[int, Tensor]
    events: dict[int, dict[str, Tensor]] = field(repr=False)
    pools: frozenset[str] = frozenset()
    seconds: dict[int, float] = field(default_factory=dict)
    latency: dict[int, int] = field(default_factory=dict)
    warmup: int = 0

    def mean(self, t: int | None = None) -> Tensor:
        """Mean output per step of the read-out, (N, classes, ...)."""
        t, total = self._read(t)
        return total / (t - self.warmup)

    def predictions(self, t: int | None = None) -> Tensor:
        """Class with the largest output after t steps, (N,) or (N, H, W). Ties go to the lowest class index."""
        return self._read(t)[1].argmax(1)

    def accuracy(self, labels: Tensor, t: int | None = None) -> float:
        """Share of predictions that equal `labels` (N,) or (N, H, W), from 0 to 1.

        Raises:
            UserError: `labels` has another shape than the predictions.
        """
        predictions, labels = self.predictions(t).cpu(), torch.as_tensor(labels).cpu()
        if predictions.shape != labels.shape:
            raise UserError(f"There are predictions {tuple(predictions.shape)}, and labels {tuple(labels.shape)}.")
        return (predictions == labels).double().mean().item()

    def undecided(self, t: int | None = None) -> int:
        """Number of predictions whose largest output is shared by several classes."""
        total = self._read(t)[1]
        return int(((total == total.amax(1, keepdim=True)).sum(1) > 1).sum())

    def _read(self, t: int | None) -> tuple[int, Tensor]:
        t = max(self.outputs) if t is None else t
        if t not in self.outputs:
            steps = ", ".join(map(str, self.outputs))
            raise UserError(
                f"This simulation was read at the steps {steps}, not at {t}: ask for it with simulate(at=...)."
            )
        return t, self.outputs[t]

    def spikes(self, t: int | None = None) -> dict[str, int]:
        """Number of spikes per layer in the steps 1 .. t, summed over the images."""
        t, _ = self._read(t)
        return {name: int(count.sum()) for name, count in self.events[t].items() if name not in self.pools}
