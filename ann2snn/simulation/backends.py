"""Which backend runs a layer: compiled C on the CPU, Triton on a GPU, or PyTorch."""

# pyright: reportCallIssue=false, reportArgumentType=false
# (a module's methods are typed as what its attributes may be)
import functools
import sys

import torch
from torch import Tensor, nn

from ann2snn.conversion.neurons import IF, StagedIF, TimedIF, WholeTrain, hard, soft
from ann2snn.simulation import c_library


def engine(device: str) -> str:
    """What computes there: "C" (the compiled layers), or "PyTorch" where they could not be compiled; "CUDA"."""
    return "CUDA" if device != "cpu" else "C" if c_library.library() else "PyTorch"


def compiled(module: nn.Module) -> bool:
    """Whether `layer.c` does what this module does: a kind of IF, in float32 on the CPU, with a reset it knows."""
    return _plain(module, "cpu") and c_library.library() is not None


def in_bytes(module: nn.Module) -> bool:
    """Whether PyTorch runs a layer whose spikes are bytes, for the synapses of `layer.c` to hear."""
    return isinstance(module, WholeTrain) and _in_float32(module.worth, "cpu") and c_library.library() is not None


def fused(module: nn.Module) -> bool:
    """Whether the kernel of `fused.py` does: the same on a GPU."""
    return _plain(module, "cuda") and _triton_works()


@functools.cache
def _triton_works() -> bool:
    """Whether Triton is there and can compile; else, after one line of notice, PyTorch does the same, more slowly."""
    try:
        from ann2snn.simulation.triton_layer import Fused

        one = torch.ones(1, 1, device="cuda")
        Fused(IF(1.0).to(one), one).run(one, None, [1], 1)
        return True
    except Exception as error:  # of many kinds, where a part of its tool chain is absent
        reason = str(error).strip().splitlines()[:1]
        print(f"ann2snn: Triton does not work ({''.join(reason)}); PyTorch does the same, slower.", file=sys.stderr)
        return False


def _plain(module: nn.Module, device: str) -> bool:
    if not isinstance(module, IF) or module.reset not in (soft, hard):
        return False
    kind = type(module)
    if kind.fire is not IF.fire or (kind.init, kind.step) not in ((k.init, k.step) for k in (IF, TimedIF, StagedIF)):
        return False
    return _in_float32(module.v_th, device)


def _in_float32(value: Tensor, device: str) -> bool:
    return value.dtype == torch.float32 and value.device.type == device
