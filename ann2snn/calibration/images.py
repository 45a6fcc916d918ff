"""Calibration and test images, as a tensor or as batches of a data loader."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx

from ann2snn.errors import UserError
from ann2snn.graph.network import HALF

BATCH = 500  # images of a tensor in one forward pass
MAX_KEPT = 1024  # images of a data loader that a method may keep in memory


def images_of(data: Tensor | Iterable, size: int) -> Iterator[Tensor]:
    """Yields batches of images (B, C, H, W).

    Args:
        data: A tensor (N, C, H, W), or an iterable of batches: images, or tuples (images, labels) as of a DataLoader.
        size: Batch size for a tensor; the batches of an iterable stay as they are.

    Raises:
        UserError: `data` is anything else.
    """
    if not isinstance(data, Iterable):
        raise UserError(f"Images are a tensor (N, C, H, W) or batches of them, not {type(data).__name__}.")
    for batch in data.split(size) if isinstance(data, Tensor) else data:
        images = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if not isinstance(images, Tensor):
            raise UserError(f"Images are torch tensors (N, C, H, W), not {type(images).__name__}: use torch.as_tensor.")
        if len(images):
            yield images


def batches_of(data: Tensor | Iterable) -> tuple[Callable[[], Iterable[Tensor]], float]:
    """A function that returns all batches of images at every call, and the number of images that may be kept at once.

    For a tensor the number is unlimited. A data loader is iterated again at every call, with the same seed of torch's
    generator, so that its order and its augmentations repeat. The batches of an iterator are kept in memory.
    """
    if isinstance(data, Tensor) or not isinstance(data, Iterable) or isinstance(data, Iterator):
        batches = list(images_of(data, BATCH))
        return lambda: batches, math.inf

    def stream() -> Iterator[Tensor]:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            yield from images_of(data, BATCH)

    return stream, MAX_KEPT


@contextmanager
def full_precision(net: fx.GraphModule) -> Iterator[None]:
    """Context manager that disables autocast, as sums over time steps need the full precision of the weights.

    Raises:
        UserError: The weights are in half precision.
    """
    like = next(net.parameters())
    if like.dtype in HALF:
        raise UserError(
            f"This network is in {like.dtype}, which has too few bits for sums over many steps: call .float() on it."
        )
    with torch.autocast(like.device.type, enabled=False):
        yield


def check_images(net: fx.GraphModule, images: Tensor) -> Tensor:
    """Returns `images` if they have the shape that `net` was prepared for and are finite; else raises a UserError."""
    shape = net.meta.get("shape", tuple(images.shape[1:]))
    if tuple(images.shape[1:]) != shape:
        wanted = ", ".join(map(str, ("N", *shape)))
        raise UserError(f"The network was prepared for images ({wanted}), not {tuple(images.shape)}.")
    if not torch.isfinite(images).all():
        raise UserError("The images hold values that are not finite (NaN or infinity): remove them from the data.")
    return images
