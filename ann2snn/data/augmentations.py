"""Random transforms of training images."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_flip(images: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
    """Torchvision's RandomCrop(size, padding=4) followed by a horizontal flip, with given random numbers.

    Args:
        images: (B, C, H, W), not normalised, as the padding is black.
        offsets: (B, 2) int64, top and left, from 0 to 8.
        flips: (B,) bool, the images to flip.

    Returns:
        (B, C, H, W).
    """
    n, _, height, width = images.shape
    batch, rows, columns = (torch.arange(size, device=images.device) for size in (n, height, width))
    rows = offsets[:, :1] + rows  # (B, H)
    columns = offsets[:, 1:] + columns  # (B, W)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    padded = F.pad(images, (4, 4, 4, 4)).movedim(1, -1)  # (B, H + 8, W + 8, C)
    return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def random_crop_flip(images: Tensor) -> Tensor:
    """`crop_flip` with random numbers from the CPU's generator, the same for every device."""
    n = len(images)
    offsets, flips = torch.randint(0, 9, (n, 2)), torch.rand(n) < 0.5
    return crop_flip(images, offsets.to(images.device), flips.to(images.device))


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {"crop_flip": random_crop_flip}
