"""The device that torch computes on, the processor, and their names."""

import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import torch

from ann2snn.errors import UserError


def hardware_description(device: str) -> str:
    """Hardware and software that the bits of a training depend on.

    Such as "AMD EPYC 7763, AVX2, 2 threads, torch 2.15.0" or "cuda: NVIDIA H200, torch 2.11.0".
    """
    what = device_name(device) if device == "cuda" else f"{cpu_model()}, {torch.get_num_threads()} threads"
    return f"{what}, torch {package_version('torch')}"


def device_name(device: str) -> str:
    """Name of the device in the provenance of a record: "cpu", or "cuda: NVIDIA H200"."""
    return f"cuda: {torch.cuda.get_device_name()}" if device == "cuda" else device


def cpu_model() -> str:
    """Name of the processor and the instructions that torch uses, such as "AMD EPYC 7763 64-Core Processor, AVX2".

    Virtual machines often name all processors of a family alike, but their results differ with the instructions.
    """
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def package_version(package: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def resolve_device(device: str) -> str:
    """The device "cpu" or "cuda" for an option value; on CUDA, TF32 convolutions are disabled.

    Args:
        device: "cpu", "cuda", or "auto" for CUDA if torch can use it, else the CPU.

    Raises:
        UserError: The device is unknown or not available.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"No device is called {device!r}; known are auto, cpu and cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("This machine has no CUDA device that torch can use; take --device cpu.")
    if device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    torch.backends.cudnn.allow_tf32 = False  # compute float32 convolutions in float32
    return "cuda"
