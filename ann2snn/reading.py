"""Reading files that may be damaged: every error is one sentence that names the file."""

import json
import os
import stat
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from ann2snn.errors import UserError

MAX_JSON_BYTES = 2**26
MAX_BYTES = 2**32
MAX_DEPTH = 32  # of nested lists and objects

T = TypeVar("T")


class DamagedFile(UserError):
    """A file exists but has the wrong content.

    Args:
        path: The file.
        defect: What is wrong, as in "is not JSON". The attribute `defect` has the path before it.
        fix: What to do, as in "remove it".
    """

    def __init__(self, path: Path | str, defect: str, fix: str):
        super().__init__(f"{path} {defect}; {fix}.")
        self.defect = f"{path} {defect}"


def read_bytes(path: Path | str, fix: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: The file. A named pipe, a device or a folder is rejected at once, without waiting for it.
        fix: What to do about a damaged file, such as "remove it and run the same command again".
        max_bytes: The largest accepted size.

    Raises:
        DamagedFile: It is not a regular file, or larger than `max_bytes`.
        UserError: It cannot be opened or read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DamagedFile(path, f"is {_kind(status.st_mode)}, not a file", fix)
            if status.st_size > max_bytes:
                raise DamagedFile(path, f"has {status.st_size:,} bytes, more than {max_bytes:,}", fix)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a named pipe" if stat.S_ISFIFO(mode) else "a device"


def read_json(path: Path | str, fix: str = "remove it and run the same command again") -> Any:
    """The value in a JSON file: UTF-8, of bounded size and depth, with finite integers and encodable text.

    Raises:
        DamagedFile: The content is anything else.
        UserError: It cannot be opened or read.
    """
    content = read_bytes(path, fix, MAX_JSON_BYTES)
    try:
        value = json.loads(content.decode("utf-8"))
        _check(value)
    except RecursionError:
        raise DamagedFile(path, "is nested too deeply", fix) from None
    except ValueError as error:  # also of an integer with thousands of digits, or text that is not UTF-8
        raise DamagedFile(path, f"is not JSON ({error})", fix) from None
    return value


def _check(value) -> None:
    """Raises a ValueError if a text cannot be encoded, and a RecursionError above `MAX_DEPTH` levels."""
    level = [value]
    for _ in range(MAX_DEPTH):
        texts, below = [], []
        for x in level:
            if isinstance(x, dict):
                texts += x
                below += x.values()
            elif isinstance(x, list):
                below += x
            elif isinstance(x, str):
                texts.append(x)
        for text in texts:
            text.encode()
        if not below:
            return
        level = below
    raise RecursionError


def put_aside(error: DamagedFile, path: Path) -> None:
    """Renames a damaged file, with a line on stderr, so that a new one can be written."""
    names = (path.with_name(f"{path.name}.damaged{n or ''}") for n in count())
    aside = next(name for name in names if not os.path.lexists(name))
    path.rename(aside)
    print(f"{error.defect}: put aside as {aside.name}.", file=sys.stderr)


def load_or_put_aside(path: Path, load: Callable[[Path], T]) -> T | None:
    """`load(path)`, or None if there is no such file; a damaged file is renamed by `put_aside` and gives None."""
    try:
        return load(path) if os.path.lexists(path) else None
    except DamagedFile as error:
        put_aside(error, path)
        return None


_left_out: set[str] = set()  # defects that were reported


def leave_out(error: UserError) -> None:
    """Reports on stderr that a file is ignored, once per process and file."""
    defect = error.defect if isinstance(error, DamagedFile) else str(error).rstrip(".")
    if defect not in _left_out:
        _left_out.add(defect)
        print(f"{defect}: left out.", file=sys.stderr)
