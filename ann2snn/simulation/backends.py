"""The choice of a layer's backend: compiled C on the CPU, Triton on a GPU, or PyTorch."""

import functools
import sys
from typing import TypeGuard

import torch
from torch import Tensor, nn

from ann2snn.conversion.neurons import IF, MultiStepNeuron, StagedIF, TimeVaryingIF, hard, soft
from ann2snn.simulation import c_library


def engine(device: str) -> str:
    """Name of the engine on a device: "C", or "PyTorch" where `layer.c` could not be compiled; "CUDA" on a GPU."""
    return "CUDA" if device != "cpu" else "C" if c_library.library() else "PyTorch"


def runs_natively(module: nn.Module) -> bool:
    """Whether `layer.c` can run a layer: a built-in kind of `IF` with a built-in reset, in float32 on the CPU."""
    return _is_plain_if(module, "cpu") and c_library.library() is not None


def runs_in_triton(module: nn.Module) -> bool:
    """Whether the Triton kernel can run a layer: a built-in kind of `IF` with a built-in reset, in float32 on a GPU."""
    return _is_plain_if(module, "cuda") and _triton_works()


def emits_byte_spikes(module: nn.Module) -> TypeGuard[MultiStepNeuron]:
    """Whether a multi-step neuron passes its spikes on as bytes, which the synapses of `layer.c` take."""
    if not isinstance(module, MultiStepNeuron):
        return False
    return _is_float32(module.spike_amplitude, "cpu") and c_library.library() is not None


@functools.cache
def _triton_works() -> bool:
    """Whether Triton is installed and can compile; where not, one line on stderr says that PyTorch replaces it."""
    try:
        from ann2snn.simulation.triton_layer import TritonIFLayer

        one = torch.ones(1, 1, device="cuda")
        TritonIFLayer(IF(1.0).to(one), one).run(one, None, [1], 1)
        return True
    except Exception as error:  # of many types, where a part of the tool chain is missing
        reason = str(error).strip().splitlines()[:1]
        print(f"ann2snn: Triton does not work ({''.join(reason)}); PyTorch does the same, slower.", file=sys.stderr)
        return False


def _is_plain_if(module: nn.Module, device: str) -> bool:
    if not isinstance(module, IF) or module.reset not in (soft, hard):
        return False
    kind = type(module)
    steps = [(k.init, k.step) for k in (IF, TimeVaryingIF, StagedIF)]
    if kind.fire is not IF.fire or (kind.init, kind.step) not in steps:
        return False
    return _is_float32(module.v_th, device)


def _is_float32(value: Tensor, device: str) -> bool:
    return value.dtype == torch.float32 and value.device.type == device
