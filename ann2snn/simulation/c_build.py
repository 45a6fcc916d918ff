"""Compiles `layer.c` once for this machine with its C compiler, and caches the library."""

import ctypes
import errno
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ann2snn.files import seal, unseal, write_atomic
from ann2snn.interrupts import raise_on_interrupt

SOURCE = Path(__file__).with_name("layer.c")
FLAGS = ["-O3", "-march=native", "-fPIC"]


def compiler() -> list[str]:
    """The C compiler: $CC, else cc."""
    command = os.environ.get("CC", "")
    try:
        return shlex.split(command) or ["cc"]
    except ValueError as error:
        raise ValueError(f"CC={command}: {error}") from None


def load(compiler: list[str], flags: list[str], passes: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL:
    """From the cache; compiled, and kept there, where the cache has none that is whole and `passes`."""
    version = _run([*compiler, "--version"], timeout=60).stdout
    what = [SOURCE.read_bytes(), os.fsencode(" ".join(compiler + flags)), version, _cpu()]
    name = f"layer-{hashlib.sha256(b'|'.join(what)).hexdigest()[:16]}.so"
    folders = []
    with suppress(OSError, RuntimeError):  # not writable, someone else's, no home
        folders.append(_cache())
        with suppress(OSError, ValueError):
            return _loaded(folders[0] / name, passes)
    with raise_on_interrupt(), tempfile.TemporaryDirectory(prefix="ann2snn-") as scratch:
        _build(compiler, flags, Path(scratch, "built"))
        content = seal(Path(scratch, "built").read_bytes())
        for folder in [*folders, Path(scratch)]:
            try:
                write_atomic(folder / name, content, mode=0o600)
                return _loaded(folder / name, passes)
            except (OSError, ValueError):  # a full disk, a folder that nothing is run from, a wrong library
                (folder / name).unlink(missing_ok=True)
                if folder == Path(scratch):
                    raise
    raise AssertionError


def _loaded(path: Path, passes: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL:
    """The library in a file.

    Raises:
        OSError: It is absent, cannot be loaded, or others than this user can write to it.
        ValueError: It is damaged, or computes something else than PyTorch.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        about = os.stat(file.fileno())
        if about.st_uid != os.geteuid() or about.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "others can write to it", str(path))
        if not unseal(file.read())[1]:
            raise ValueError(f"{path} has no digest")
    library = ctypes.CDLL(str(path))
    if not passes(library):
        raise ValueError("it computes something else than PyTorch")
    return library


def _cache() -> Path:
    """The folder of this user alone; OSError where it cannot be."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ann2snn"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {folder.lstat().st_uid, folder.stat().st_uid} != {os.geteuid()}:
        raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))
    folder.chmod(0o700)
    return folder


def _build(compiler: list[str], flags: list[str], target: Path) -> None:
    """Linked without an OpenMP of its own: torch's serves both, so that two pools of threads never compete."""
    for arguments in (["-c", *flags, str(SOURCE), "-o", f"{target}.o"], ["-shared", f"{target}.o", "-o", str(target)]):
        _run([*compiler, *arguments], timeout=120)


def _run(command: list[str], timeout: float) -> subprocess.CompletedProcess:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=timeout)


def _cpu() -> bytes:
    """What `-march=native` stands for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(line for line in lines[:40] if line.startswith(("model", "flags", "Features"))).encode()
    except OSError:
        return platform.processor().encode()


def openmp() -> str | None:
    """The GNU OpenMP that torch has loaded."""
    try:
        found = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line)
        return next(found, None)
    except OSError:
        return None
