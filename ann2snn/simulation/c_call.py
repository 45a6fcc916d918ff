"""The arguments of the compiled `layer.c`."""

import ctypes

import torch
from torch import Tensor


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


def call(library, **values) -> None:
    """Runs a layer: `values` are numbers, pairs of numbers, and tensors in the memory order of `layer.c`."""
    layer = Layer(threads=torch.get_num_threads())
    for name, value in values.items():
        if isinstance(value, tuple):
            value = (ctypes.c_long * 2)(*value)
        setattr(layer, name, value.data_ptr() if isinstance(value, Tensor) else value)
    if library.run(ctypes.byref(layer)):
        raise torch.OutOfMemoryError("the sums of a layer do not fit into memory")
