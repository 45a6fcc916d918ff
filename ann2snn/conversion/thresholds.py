"""Thresholds from activation statistics."""

import torch
from torch import Tensor

from ann2snn.calibration.statistics import Statistics
from ann2snn.errors import UserError
from ann2snn.networks.activations import TCL, ThresholdReLU

UNREACHABLE = 2.0**60  # threshold of a layer that was never active; `silence` later replaces its neurons


def threshold(value: Tensor, layer: str) -> Tensor:
    """Turn an activation statistic into a threshold.

    A channel that was never active gets the largest value of the layer. A layer that was never active gets the
    threshold UNREACHABLE, and the converted network has neurons there that never fire.

    Args:
        value: The statistic, a scalar or one value per channel.
        layer: Name of the activation, or "output".

    Raises:
        UserError: The output of the network was never positive.
    """
    if (value > 0).any():
        return torch.where(value > 0, value, value.max())
    if layer == "output":
        raise UserError(
            "The output was never positive on the calibration images, so its spikes have no threshold: use the"
            " accumulated read-out."
        )
    return torch.full_like(value, UNREACHABLE)


def default_threshold(activation: ThresholdReLU, stats: Statistics, per_channel: bool = False) -> Tensor:
    """The trained threshold of a source that has one, else the largest activation on the calibration images.

    Args:
        activation: The activation to replace.
        stats: Statistics of its network.
        per_channel: Use the largest activation per channel, (C, 1, 1) or (F,), instead of that of the layer.
    """
    if isinstance(activation, TCL):
        return activation.y_th.detach().clone()
    layer = stats[activation.name]
    return threshold(layer.channel_max if per_channel else layer.max, activation.name)
