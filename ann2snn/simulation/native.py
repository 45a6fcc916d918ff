"""The library of `layer.c`: compiled once for this machine by its C compiler, then kept in the user's cache."""

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("layer.c")
FLAGS = ["-O3", "-march=native", "-fPIC"]


class Layer(ctypes.Structure):
    """`struct layer`."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("steps", "images", "threads")),
        *((name, ctypes.c_long) for name in ("height", "width", "channels", "out_height", "out_width", "out_channels")),
        *((name, ctypes.c_long * 2) for name in ("kernel", "stride", "padding", "dilation")),
        *((name, ctypes.c_long) for name in ("tile", "most", "groups", "square")),
        *((name, ctypes.c_void_p) for name in ("spikes", "values", "weights", "bias")),
        *((name, ctypes.c_void_p) for name in ("current", "extra", "extra_spikes")),
        *((name, ctypes.c_long) for name in ("current_stride", "extra_stride")),
        *((name, ctypes.c_void_p) for name in ("v_th", "shift", "worth")),
        *((name, ctypes.c_long) for name in ("v_th_stride", "shift_stride", "worth_stride", "hard")),
        *((name, ctypes.c_void_p) for name in ("membrane", "counts", "out", "out_current", "reach")),
    ]


def run(**values) -> None:
    """Runs the layer of these values: numbers, pairs of numbers, and tensors in the memory order of `layer.c`."""
    layer = Layer(threads=torch.get_num_threads())
    for name, value in values.items():
        if isinstance(value, tuple):
            value = (ctypes.c_long * 2)(*value)
        setattr(layer, name, value.data_ptr() if isinstance(value, Tensor) else value)
    if library().run(ctypes.byref(layer)):  # type: ignore
        raise torch.OutOfMemoryError("the sums of a layer do not fit into memory")


@functools.cache
def library() -> ctypes.CDLL | None:
    """None, after one line of notice, where it cannot be made: PyTorch then does the same, more slowly."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    openmp = _openmp()
    try:
        if openmp:
            ctypes.CDLL(openmp, ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(_compiled(compiler, FLAGS + (["-fopenmp"] if openmp else []))))
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip().splitlines()[:1]
        print(
            f"ann2snn: layer.c cannot be compiled ({''.join(reason)}); PyTorch does the same, slower.", file=sys.stderr
        )
        return None


def _compiled(compiler: list[str], flags: list[str]) -> Path:
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    what = [SOURCE.read_bytes(), " ".join(compiler + flags).encode(), version, _cpu()]
    name = f"layer-{hashlib.sha256(b'|'.join(what)).hexdigest()[:16]}.so"
    for temporary in (False, True):
        try:
            folder = Path(tempfile.mkdtemp(prefix="ann2snn-")) if temporary else _cache()
            if temporary:
                atexit.register(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / name).exists():
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    _build(compiler, flags, Path(scratch) / name)
                    ctypes.CDLL(str(Path(scratch) / name))  # what cannot be loaded is not kept
                    os.replace(Path(scratch) / name, folder / name)
            return folder / name
        except (OSError, RuntimeError):  # not writable, full, no home
            if temporary:
                raise
    raise AssertionError


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ann2snn"


def _build(compiler: list[str], flags: list[str], target: Path) -> None:
    """Linked without an OpenMP of its own: torch's serves both, so that two pools of threads never compete."""
    for arguments in (["-c", *flags, str(SOURCE), "-o", f"{target}.o"], ["-shared", f"{target}.o", "-o", str(target)]):
        subprocess.run([*compiler, *arguments], capture_output=True, text=True, check=True, timeout=120)


def _cpu() -> bytes:
    """What `-march=native` stands for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(line for line in lines[:40] if line.startswith(("model", "flags", "Features"))).encode()
    except OSError:
        return platform.processor().encode()


def _openmp() -> str | None:
    """The GNU OpenMP that torch has loaded."""
    try:
        found = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line)
        return next(found, None)
    except OSError:
        return None
