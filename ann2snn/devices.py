"""The accelerator, the processor, and their names."""

import platform
from importlib import metadata
from pathlib import Path

import torch

from ann2snn.errors import UserError


def hardware_description(device: str) -> str:
    """What a training's bits depend on: "a processor, 2 threads, torch 2.15.0", "cuda: NVIDIA H200, torch 2.11.0"."""
    import torch

    what = device_name(device) if device == "cuda" else f"{cpu_model()}, {torch.get_num_threads()} threads"
    return f"{what}, torch {_version('torch')}"


def device_name(device: str) -> str:
    """Of a record's provenance: "cpu", or "cuda: NVIDIA H200"."""
    import torch

    return f"cuda: {torch.cuda.get_device_name()}" if device == "cuda" else device


def cpu_model() -> str:
    """The processor's name, such as "AMD EPYC 7763 64-Core Processor"."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def resolve_device(device: str) -> str:
    """`auto` -> `cuda` where torch can use one, else `cpu`. UserError for an unknown device or an absent one."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"No device is called {device!r}; known are auto, cpu and cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("This machine has no CUDA device that torch can use; take --device cpu.")
    if device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    torch.backends.cudnn.allow_tf32 = False  # what is called float32 is computed in it
    return "cuda"
