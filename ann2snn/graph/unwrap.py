"""Copies a network without its wrappers: parallel and compiled modules, pruning, weight and spectral norm."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ann2snn.errors import UserError


def unwrap(net: nn.Module) -> nn.Module:
    """A deep copy of `net` in eval mode without gradients; `net` is not changed.

    Parallel and compiled modules are replaced by the modules inside them. Pruning masks and weight and spectral norm
    of the old kind are folded into the weights. Tensors that a forward pass stored are detached. torchvision's
    Normalize becomes plain arithmetic.

    Raises:
        UserError: A module is scripted or traced, or an attribute cannot be copied; the message names it.
    """
    modules = dict(net.named_modules())
    for path, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(
                f"{path or 'The network'} is scripted or traced (torch.jit), which leaves no Python code to convert:"
                " pass the module that it was made from, with load_state_dict(scripted.state_dict())."
            )
    memo: dict[int, Any] = {}
    for module in reversed(modules.values()):  # the inner ones first
        for value in vars(module).values():
            _detach(value, memo)
        if inner := _inner(module):
            memo[id(module)] = _copied(inner, memo)
        elif type(module).__name__ == "Normalize" and type(module).__module__.startswith("torchvision."):
            memo[id(module)] = _Normalise(module.mean, module.std)
    net = _copied(net, memo).eval().requires_grad_(False)
    for module in net.modules():
        _fold_hooks(module)
    return net.requires_grad_(False)


class _Normalise(nn.Module):
    """torchvision's Normalize without its check of the standard deviations, which torch.export cannot capture."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Any, std: Any):
        super().__init__()
        for name, value in {"mean": mean, "std": std}.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _inner(module: nn.Module) -> nn.Module | None:
    """The module inside a wrapper; None if `module` is not a wrapper."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return module.module
    return module._modules.get("_orig_mod")  # of torch.compile


def _detach(value: Any, memo: dict[int, Any]) -> None:
    """Makes deepcopy replace the results of a forward pass in `value` by detached copies."""
    if isinstance(value, Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif isinstance(value, dict):
        for part in value.values():
            _detach(part, memo)
    elif isinstance(value, list | tuple):
        for part in value:
            _detach(part, memo)


def _copied(net: nn.Module, memo: dict[int, Any]) -> nn.Module:
    known = dict(memo)
    try:
        return copy.deepcopy(net, memo)
    except Exception as error:  # whatever the attributes of a network raise
        raise UserError(f"The network cannot be copied: {_culprit(net, known) or error}.") from error


def _culprit(net: nn.Module, memo: dict[int, Any]) -> str:
    """The attribute that cannot be copied, why, and the fix."""
    for path, module in net.named_modules():
        for name, value in vars(module).items():
            if name == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__).partition(".  ")[0]
                where = f"{path}.{name}" if path else name
                return f"its attribute {where} ({type(value).__name__}): {reason}; delete it before prepare"
    return ""


def _fold_hooks(module: nn.Module) -> None:
    """Computes weights once that a hook computes before every forward pass."""
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)
        elif isinstance(hook, WeightNorm):
            torch.nn.utils.remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            torch.nn.utils.remove_spectral_norm(module, hook.name)
