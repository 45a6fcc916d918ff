"""Checks of the arguments of `prepare`."""

import inspect
import re

import torch
from torch import Tensor, nn

from ann2snn.errors import UserError
from ann2snn.graph import not_convertible
from ann2snn.graph.report import NodeReport, NotConvertible


class ShapeError(UserError):
    """The network does not accept an input of this shape."""


def check_example(example: Tensor) -> None:
    """Raises a UserError unless `example` is a batch (B, C, H, W) of finite floats."""
    if not example.numel() and example.dim() > 0:
        raise UserError(f"The example is empty, of shape {tuple(example.shape)}: give a batch of one image or more.")
    if not example.is_floating_point():
        raise UserError(f"The example is of {example.dtype}, not of floats: pass images normalised as in training.")
    if example.dim() < 2 or not torch.isfinite(example).all():
        raise UserError("The example is a batch (1, C, H, W) of finite numbers, normalised as in training.")


def check_network(net: nn.Module, example: Tensor) -> None:
    """Raises a UserError if `net` is recurrent, takes several inputs, or does not run on `example`."""
    for path, module in net.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            kind = type(module).__name__.lower()
            raise NotConvertible([NodeReport(path or kind, kind, "not convertible", not_convertible.RECURRENT)])
    parameters = inspect.signature(net.forward).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) > 1:
        raise UserError(
            f"The network takes {len(needed)} inputs ({', '.join(needed)}) and must take one: wrap it in a module whose"
            " forward takes the images and fills in the rest."
        )
    try:
        net(example)
    except Exception as error:
        own = next((p for p in net.parameters() if p.is_floating_point()), example)
        for its, given, fix in (
            (own.dtype, example.dtype, own.dtype),
            (own.device, example.device, repr(str(own.device))),
        ):
            if its != given:
                raise UserError(f"The example is {given} and the network {its}: pass example.to({fix}).") from error
        raise ShapeError(
            f"The network does not take an input of shape {tuple(example.shape)}: {first_line(error)}"
        ) from error


def not_captured(error: Exception) -> UserError:
    """The error for a network that torch.export cannot capture."""
    line = first_line(error)
    if " assigned during export" in line:
        names = ", ".join(dict.fromkeys(re.findall(r"self\.[\w.]+", line)))
        return UserError(
            f"The forward pass stores tensors in the network ({names}), which torch.export cannot capture: return them,"
            " or store them from a forward hook."
        )
    return UserError(f"torch.export cannot capture the network (data-dependent code, or a fixed batch size?): {line}")


def first_line(error: Exception) -> str:
    """The first line of a message that is not blank, at most 200 characters."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
