"""Segments: the runs of steps into which a block of steps is divided, and `IF` layers that run them.

A block is divided after every step that is read, and where a `StagedIF` changes to its second stage.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from ann2snn.conversion.neurons import IF, StagedIF, TimeVaryingIF


def segment_lengths(steps: int, reads: list[int]) -> list[int]:
    """Lengths of the segments of a block.

    Args:
        steps: Steps of the block.
        reads: The steps after which results are read, counted from 1 within the block.
    """
    return [end - begin for begin, end in pairwise([0, *sorted({*reads, steps})])]


def split_at_switch(neuron: IF, t: int, segments: list[int]) -> list[int]:
    """Lengths of the segments after step t, split at a `StagedIF`'s switch step."""
    if not isinstance(neuron, StagedIF) or not 0 < neuron.switch_step - t < sum(segments):
        return segments
    return segment_lengths(sum(segments), [*accumulate(segments), neuron.switch_step - t])


class IFLayer:
    """An `IF` layer on a batch of images. A subclass implements `begin`, which runs the steps of one segment."""

    membrane: Tensor  # (B, ...)
    counts: Tensor  # (B, ...), int16: spikes since step 1

    def __init__(self, neuron: IF, shape: torch.Size):
        self.neuron = neuron
        self.shape = shape
        self.t = 0  # steps taken
        self.is_time_varying = isinstance(neuron, TimeVaryingIF)

    def run(self, current, residual, segments: list[int], reads: int) -> tuple[Any, list[Tensor]]:
        """Run a block of steps.

        Args:
            current: Input current (steps * B, ...), or (B, ...) if it is constant.
            residual: A second input current, which is added to the first, or None.
            segments: Lengths of the segments; they add up to the steps of the block.
            reads: Number of segments after which the events are read, from the first on.

        Returns:
            The spikes (steps * B, ...), and the events per unit since step 1 after each of these segments.
        """
        spikes, run_segment = self.begin(current, residual, sum(segments))
        done, events, ends = 0, [], set(accumulate(segments))
        for steps in self.split(segments):
            run_segment(done, steps)
            done += steps
            if isinstance(self.neuron, StagedIF):
                self.membrane.copy_(self.neuron.after_step(self.t + done, self.membrane))
            if done in ends and len(events) < reads:
                events.append(self.events())
        self.t += done
        return spikes, events

    def split(self, segments: list[int]) -> list[int]:
        """The segments as this layer runs them."""
        return split_at_switch(self.neuron, self.t, segments)

    def begin(self, current, residual, steps: int) -> tuple[Any, Callable[[int, int], None]]:
        """The spikes of a block, still to be computed, and a function that computes steps first .. first + n - 1."""
        raise NotImplementedError

    def events(self) -> Tensor:
        """Spikes per unit since step 1, summed over the images."""
        raise NotImplementedError
