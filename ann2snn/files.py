"""Files: atomic writes, locks between processes, and digests that detect damage."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ann2snn.errors import StorageError

SEAL = b"\nsha256:"


def write_atomic(path: Path | str, data: str | bytes, mode: int | None = None) -> None:
    """Writes a file atomically: after a crash or on a full disk it has its old content or the new one.

    Temporary files of `path` that killed processes left behind are removed.

    Args:
        path: The file; its folder is created if absent.
        data: The content; text is encoded as UTF-8.
        mode: Permissions of the file, regardless of the umask; None for the default ones.

    Raises:
        StorageError: The file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        with open(_lock(temporary, wait=True), "wb") as file:
            try:
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                file.truncate()
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full; free some space" if full else f"{error.strerror}; fix that"
        raise StorageError(f"{path} could not be written: {reason} and run the same command again.") from error


def remove(path: Path) -> None:
    """Removes a file, and temporary files of it that killed processes left behind; none of them has to exist."""
    path.unlink(missing_ok=True)
    remove_leftovers(path)


@contextmanager
def exclusive_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Context manager that one process at a time can enter; the lock of a process that dies is released.

    Args:
        path: The lock file, which exists while a process holds the lock.
        on_wait: Called before waiting, if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = _lock(path, wait=False)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            on_wait()
        lock = _lock(path, wait=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def seal(content: bytes) -> bytes:
    """`content` followed by its SHA-256, which `torch.load` and the loader of shared libraries ignore."""
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def unseal(content: bytes) -> tuple[bytes, bool]:
    """The content without its seal, and whether it has a seal.

    Raises:
        ValueError: The SHA-256 of the seal is not that of the content.
    """
    before, mark, digest = content[-64 - len(SEAL) :].partition(SEAL)
    if before or not mark:
        return content, False
    content = content[: -64 - len(SEAL)]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("its digest is of other content")
    return content, True


def _lock(path: Path, wait: bool) -> int:
    """Opens `path`, creates it if absent, and locks it until the returned descriptor is closed.

    Raises:
        BlockingIOError: Another process has locked it, and `wait` is False.
        OSError: It cannot be opened, or its file system has no locks and `wait` is False.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError:
                if not wait:
                    raise
                return descriptor
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(descriptor)):  # not renamed or removed since
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Removes temporary files of `path` that no process has locked: their process was killed."""
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        if name.startswith(f".{path.name}.") and name.endswith(".tmp"):
            leftover = path.with_name(name)
            with suppress(OSError), open(_lock(leftover, wait=False)):  # fails if its process is alive
                leftover.unlink(missing_ok=True)


def slug(value) -> str:
    """`value` as a component of a path: `threshold_relu:1` becomes `threshold_relu-1`."""
    return "".join(c if c.isalnum() or c in "._+" else "-" for c in str(value))
