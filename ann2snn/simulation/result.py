"""The outputs, spikes and predictions of a simulation."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ann2snn.errors import UserError


@dataclass
class Result:
    """What a simulation leaves behind, at every step that was asked for.

    `outputs[t]` (N, classes), or (N, classes, H, W) of a network that classifies pixels, is the sum of the network's
    outputs over the steps 1..t, without a method's warm-up (`mean(t)` divides it by their number), and `latency[t]` how
    many steps pass until it is known. `events[t][layer]` (C, H, W) is how often every unit of a layer emitted something
    in these steps, summed over the images: a neuron its spikes, a max-pool (one of `pools`) its non-zero increments.
    Where a method takes `t`, the default is the last step that was read.
    """

    outputs: dict[int, Tensor]
    events: dict[int, dict[str, Tensor]] = field(repr=False)
    pools: frozenset[str] = frozenset()
    seconds: dict[int, float] = field(default_factory=dict)  # wall time to reach the step, all images
    latency: dict[int, int] = field(default_factory=dict)  # t, and what neurons wait that take a whole train
    warmup: int = 0  # steps before the read-out begins

    def mean(self, t: int | None = None) -> Tensor:
        """(N, classes, ...): the mean output of the steps that are read."""
        t, total = self._read(t)
        return total / (t - self.warmup)

    def predictions(self, t: int | None = None) -> Tensor:
        """(N,) or (N, H, W): the class after t steps, the largest output; ties go to the lowest class index."""
        return self._read(t)[1].argmax(1)

    def accuracy(self, labels: Tensor, t: int | None = None) -> float:
        """The share of predictions that equal `labels` (N,) or (N, H, W), from 0 to 1.

        Raises:
            UserError: `labels` has another shape than the predictions.
        """
        found, labels = self.predictions(t).cpu(), torch.as_tensor(labels).cpu()
        if found.shape != labels.shape:
            raise UserError(f"There are predictions {tuple(found.shape)}, and labels {tuple(labels.shape)}.")
        return (found == labels).double().mean().item()

    def undecided(self, t: int | None = None) -> int:
        """How many predictions have their largest output in more than one class."""
        total = self._read(t)[1]
        return int(((total == total.amax(1, keepdim=True)).sum(1) > 1).sum())

    def _read(self, t: int | None) -> tuple[int, Tensor]:
        t = max(self.outputs) if t is None else t
        if t not in self.outputs:
            known = ", ".join(map(str, self.outputs))
            raise UserError(
                f"This simulation was read at the steps {known}, not at {t}: ask for it with simulate(at=...)."
            )
        return t, self.outputs[t]

    def spikes(self, t: int | None = None) -> dict[str, int]:
        """Spikes per layer in the steps 1..t, summed over the images."""
        t, _ = self._read(t)
        return {name: int(count.sum()) for name, count in self.events[t].items() if name not in self.pools}
