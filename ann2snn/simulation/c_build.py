"""Compilation of `layer.c` with the C compiler of this machine, and the cache of the library."""

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
TIME_LIMIT = 900  # seconds that one command of the compiler may take; it needs a few on an idle machine


def compiler() -> list[str]:
    """Command of the C compiler: $CC, else cc.

    Raises:
        ValueError: $CC is not a valid shell command.
    """
    command = os.environ.get("CC", "")
    try:
        return shlex.split(command) or ["cc"]
    except ValueError as error:
        raise ValueError(f"CC={command}: {error}") from None


def load(compiler: list[str], flags: list[str], passes: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL:
    """Load the library from the cache, or compile it and write it there.

    Args:
        compiler: Command of the C compiler.
        flags: Its options.
        passes: Self-test of the library. A cached library that is damaged or fails it is compiled again.

    Raises:
        OSError, subprocess.SubprocessError: It cannot be compiled or loaded.
        ValueError: The compiled library fails the self-test.
    """
    version = _run([*compiler, "--version"], timeout=TIME_LIMIT).stdout
    key = [SOURCE.read_bytes(), os.fsencode(" ".join(compiler + flags)), version, _cpu()]
    name = f"layer-{hashlib.sha256(b'|'.join(key)).hexdigest()[:16]}.so"
    folders = []
    with suppress(OSError, RuntimeError):  # it is not writable, belongs to another user, or there is no home folder
        folders.append(_cache_folder())
        with suppress(OSError, ValueError):
            return _loaded(folders[0] / name, passes)
    with raise_on_interrupt(), tempfile.TemporaryDirectory(prefix="ann2snn-") as scratch:
        _build(compiler, flags, Path(scratch, "built"))
        content = seal(Path(scratch, "built").read_bytes())
        for folder in [*folders, Path(scratch)]:
            try:
                write_atomic(folder / name, content, mode=0o600)
                return _loaded(folder / name, passes)
            except (OSError, ValueError):  # a full disk, a folder mounted noexec, a library that fails
                (folder / name).unlink(missing_ok=True)
                if folder == Path(scratch):
                    raise
    raise AssertionError


def _loaded(path: Path, passes: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL:
    """The library in a file.

    Raises:
        OSError: It is absent, cannot be loaded, or other users can write to it.
        ValueError: It is damaged or fails the self-test.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        status = os.stat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "other users can write to it", str(path))
        if not unseal(file.read())[1]:
            raise ValueError(f"{path} has no digest")
    library = ctypes.CDLL(str(path))
    if not passes(library):
        raise ValueError("its results differ from those of PyTorch")
    return library


def _cache_folder() -> Path:
    """The cache folder, which only this user can write to; OSError if that is not possible."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ann2snn"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {folder.lstat().st_uid, folder.stat().st_uid} != {os.geteuid()}:
        raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))
    folder.chmod(0o700)
    return folder


def _build(compiler: list[str], flags: list[str], target: Path) -> None:
    """Compile without linking OpenMP: the library uses torch's, so that there is one pool of threads."""
    for arguments in (["-c", *flags, str(SOURCE), "-o", f"{target}.o"], ["-shared", f"{target}.o", "-o", str(target)]):
        _run([*compiler, *arguments], timeout=TIME_LIMIT)


def _run(command: list[str], timeout: float) -> subprocess.CompletedProcess:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=timeout)


def _cpu() -> bytes:
    """The CPU that `-march=native` compiles for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(line for line in lines[:40] if line.startswith(("model", "flags", "Features"))).encode()
    except OSError:
        return platform.processor().encode()


def openmp() -> str | None:
    """Path of the GNU OpenMP library that torch has loaded, if any."""
    try:
        paths = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line)
        return next(paths, None)
    except OSError:
        return None
