"""The compiled `layer.c` of this machine."""

import ctypes
import functools
import subprocess
import sys

from ann2snn.simulation import c_build, self_test
from ann2snn.simulation.c_call import call


def run(**values) -> None:
    """Runs the layer of these values: numbers, pairs of numbers, and tensors in the memory order of `layer.c`."""
    call(library(), **values)


@functools.cache
def library() -> ctypes.CDLL | None:
    """None, after one line of notice, where it cannot be made: PyTorch then does the same, more slowly."""
    openmp = c_build.openmp()
    try:
        if openmp:
            ctypes.CDLL(openmp, ctypes.RTLD_GLOBAL)
        flags = c_build.FLAGS + (["-fopenmp"] if openmp else [])
        return c_build.load(c_build.compiler(), flags, self_test.passes)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        reason = (said.decode(errors="replace") or str(error)).strip().splitlines()[:1]
        print(
            f"ann2snn: layer.c cannot be compiled ({''.join(reason)}); PyTorch does the same, slower.", file=sys.stderr
        )
        return None
