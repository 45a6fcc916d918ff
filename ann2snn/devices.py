"""The device that torch computes on, the processor, and their names."""

import platform
from importlib import metadata
from pathlib import Path

import torch

from ann2snn.errors import UserError


def hardware_description(device: str) -> str:
    """Hardware and software that the bits of a training depend on.

    Such as "AMD EPYC 7763, 2 threads, torch 2.15.0" or "cuda: NVIDIA H200, torch 2.11.0".
    """
    what = device_name(device) if device == "cuda" else f"{cpu_model()}, {torch.get_num_threads()} threads"
    return f"{what}, torch {package_version('torch')}"


def device_name(device: str) -> str:
    """Name of the device in the provenance of a record: "cpu", or "cuda: NVIDIA H200"."""
    return f"cuda: {torch.cuda.get_device_name()}" if device == "cuda" else device


def cpu_model() -> str:
    """Name of the processor, such as "AMD EPYC 7763 64-Core Processor"."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


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
