"""Calibration and test images: tensors, or batches such as a DataLoader's."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx

from ann2snn.errors import UserError
from ann2snn.graph.network import HALF

BATCH = 500  # images of a tensor in one forward pass
MAX_KEPT = 1024  # images of a data loader that a method may keep


def images_of(data: Tensor | Iterable, size: int) -> Iterator[Tensor]:
    """Batches of images from a tensor (N, C, H, W), or from batches, also such as a DataLoader's (images, labels)."""
    if not isinstance(data, Iterable):
        raise UserError(f"Images are a tensor (N, C, H, W) or batches of them, not {type(data).__name__}.")
    for batch in data.split(size) if isinstance(data, Tensor) else data:
        images = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if not isinstance(images, Tensor):
            raise UserError(f"Images are torch tensors (N, C, H, W), not {type(images).__name__}: use torch.as_tensor.")
        if len(images):
            yield images


def batches_of(data: Tensor | Iterable) -> tuple[Callable[[], Iterable[Tensor]], float]:
    """(a function that gives all batches of images at every call, how many images may be kept at once).

    A tensor is in memory already: no limit. Of a data loader every pass draws the same order and augmentations, as far
    as these come from torch's generator. The batches of an iterator are kept.
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
    """Inside, no autocast: membranes, outputs and statistics need all bits of the weights' type.

    Raises UserError where the weights themselves are in half precision.
    """
    like = next(net.parameters())
    if like.dtype in HALF:
        raise UserError(
            f"This network is in {like.dtype}, which has too few bits for sums over many steps: call .float() on it."
        )
    with torch.autocast(like.device.type, enabled=False):
        yield


def check_images(net: fx.GraphModule, images: Tensor) -> Tensor:
    """The images, where the prepared network takes them: of its shape, and finite. Else UserError."""
    shape = net.meta.get("shape", tuple(images.shape[1:]))
    if tuple(images.shape[1:]) != shape:
        wanted = ", ".join(map(str, ("N", *shape)))
        raise UserError(f"The network was prepared for images ({wanted}), not {tuple(images.shape)}.")
    if not torch.isfinite(images).all():
        raise UserError("The images hold values that are not finite (NaN or infinity): mend the data.")
    return images
