"""The compiled `layer.c` of this machine."""

import ctypes
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ann2snn.simulation import c_build, self_test
from ann2snn.simulation.c_call import call


def run(**arguments) -> None:
    """Run a layer in the compiled library, which must exist; see `c_call.call`."""
    compiled = library()
    assert compiled is not None
    call(compiled, **arguments)


@functools.cache
def default_library() -> ctypes.CDLL | None:
    """The compiled library, or None where it cannot be built; PyTorch then replaces it."""
    return build(c_build.FLAGS)


_chosen: list[ctypes.CDLL | None] = []


def library() -> ctypes.CDLL | None:
    """The library in use: that of the innermost `using`, else the default."""
    return _chosen[-1] if _chosen else default_library()


@contextmanager
def using(other: ctypes.CDLL | None) -> Iterator[None]:
    """Use another library inside a `with` block, such as one of `build`, or None for PyTorch."""
    _chosen.append(other)
    try:
        yield
    finally:
        _chosen.pop()


def build(flags: list[str], passes: Callable[[ctypes.CDLL], bool] = self_test.passes) -> ctypes.CDLL | None:
    """The library compiled with these flags; None, after a line on stderr, if it cannot be built or fails `passes`."""
    openmp = c_build.openmp()
    try:
        if openmp:
            ctypes.CDLL(openmp, ctypes.RTLD_GLOBAL)
        flags = flags + (["-fopenmp"] if openmp else [])
        return c_build.load(c_build.compiler(), flags, passes)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or b""
        reason = (output.decode(errors="replace") or str(error)).strip().splitlines()[:1]
        print(
            f"ann2snn: layer.c cannot be compiled ({''.join(reason)}); PyTorch does the same, slower.", file=sys.stderr
        )
        return None
