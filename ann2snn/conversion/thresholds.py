"""Thresholds from activation statistics."""

import torch
from torch import Tensor

from ann2snn.calibration.statistics import Statistics
from ann2snn.errors import UserError
from ann2snn.networks.activations import TCL, ThresholdReLU

UNREACHABLE = 2.0**60  # the threshold of a layer that was never active, until `silence` replaces its neurons


def threshold(value: Tensor, layer: str) -> Tensor:
    """A statistic as a threshold: a channel that was never active takes the layer's largest value.

    Where the whole layer was silent the threshold is UNREACHABLE, whatever the neurons start from, and the finished
    network has neurons that never fire there. Raises UserError where the output was never positive.
    """
    if (value > 0).any():
        return torch.where(value > 0, value, value.max())
    if layer == "output":
        raise UserError(
            "The output was never positive on the calibration images, so that its spikes have no threshold: read out"
            " the accumulated output."
        )
    return torch.full_like(value, UNREACHABLE)


def ceiling(activation: ThresholdReLU, stats: Statistics, per_channel: bool = False) -> Tensor:
    """The threshold that was learnt in the training of the source where it has one, else the largest activation seen.

    Of the layer, or (C, 1, 1) of every channel.
    """
    if isinstance(activation, TCL):
        return activation.y_th.detach().clone()
    seen = stats[activation.name]
    return threshold(seen.channel_max if per_channel else seen.max, activation.name)
