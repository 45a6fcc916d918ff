"""The call of the compiled `layer.c`."""

import ctypes

import torch
from torch import Tensor


class LayerStruct(ctypes.Structure):
    """`struct layer` of `layer.c`."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("steps", "images", "threads")),
        *((name, ctypes.c_long) for name in ("height", "width", "channels", "out_height", "out_width", "out_channels")),
        *((name, ctypes.c_long * 2) for name in ("kernel", "stride", "padding", "dilation")),
        *((name, ctypes.c_long) for name in ("tile", "max_count", "groups", "is_square")),
        *((name, ctypes.c_void_p) for name in ("spikes", "values", "weights", "bias")),
        *((name, ctypes.c_void_p) for name in ("current", "residual", "residual_spikes")),
        *((name, ctypes.c_long) for name in ("current_stride", "residual_stride")),
        *((name, ctypes.c_void_p) for name in ("v_th", "shift", "amplitude")),
        *((name, ctypes.c_long) for name in ("v_th_stride", "shift_stride", "amplitude_stride", "hard")),
        *((name, ctypes.c_void_p) for name in ("membrane", "counts", "out", "out_current", "tap_targets")),
    ]


def call(library: ctypes.CDLL, **arguments) -> None:
    """Run a layer.

    Args:
        library: The compiled `layer.c`.
        **arguments: Fields of the struct: numbers, pairs of numbers, and tensors in the memory order of `layer.c`.

    Raises:
        torch.OutOfMemoryError: The buffers of the layer do not fit into memory.
    """
    layer = LayerStruct(threads=torch.get_num_threads())
    for name, value in arguments.items():
        if isinstance(value, tuple):
            value = (ctypes.c_long * 2)(*value)
        setattr(layer, name, value.data_ptr() if isinstance(value, Tensor) else value)
    if library.run(ctypes.byref(layer)):
        raise torch.OutOfMemoryError("the sums of a layer do not fit into memory")
