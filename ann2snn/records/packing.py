"""Compression of small integers (labels, predictions) to text."""

import base64
import binascii
import zlib
from collections.abc import Sequence

import numpy as np


def pack(values: Sequence[int] | np.ndarray) -> str:
    """Packs integers from 0 to 65535: "u1:" or "u2:" (little-endian, 1 or 2 bytes), then base64 of their zlib stream.

    Args:
        values: Integers (N,).

    Raises:
        ValueError: They are not flat, not integers or out of range.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError("pack takes a flat list of integers")
    if array.size and not 0 <= array.min() <= array.max() <= 65535:
        raise ValueError(f"pack takes numbers from 0 to 65535, not {array.min()} to {array.max()}")
    width = 2 if array.size and array.max() > 255 else 1
    return f"u{width}:" + base64.b64encode(zlib.compress(array.astype(f"<u{width}").tobytes(), 9)).decode()


def unpack(text: str) -> np.ndarray:
    """The integers (N,) int64 that `pack` packed.

    Raises:
        ValueError: The text is damaged.
    """
    kind, _, body = text.partition(":")
    if kind not in ("u1", "u2"):
        raise ValueError("not a packed array")
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(body, validate=True)), f"<{kind}").astype(np.int64)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"a damaged packed array ({error})") from None
