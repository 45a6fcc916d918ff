"""Datasets as named splits of normalised images.

Images are stored as uint8 and normalised on access.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ann2snn.data.augmentations import AUGMENTATIONS
from ann2snn.errors import UserError


@dataclass(frozen=True)
class Normalise:
    """(x / scale - mean) / std per channel, computed in the same order as torchvision's ToTensor and Normalize."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0

    def __call__(self, images: Tensor) -> Tensor:  # uint8 (..., C, H, W) -> float32, the same shape
        mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return images.float().div(self.scale).sub(mean).div(std)


class Split(Dataset):
    """Images of a dataset in a fixed order: `split[i] -> (float32 (C, H, W), int)`, normalised.

    Args:
        images: uint8 tensor (M, C, H, W), or an object that returns one when indexed with a tensor.
        labels: (N,) int64, the classes of the images in this split.
        indices: (N,) int64, the positions of these images in `images`.
        normalise: Applied to every batch.
        augment: Maps a uint8 batch to an augmented one, before it is normalised.
    """

    def __init__(self, images, labels: Tensor, indices: Tensor, normalise: Normalise, augment=None):
        self.images, self.labels, self.indices = images, labels, indices
        self.normalise, self.augment = normalise, augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        images, labels = self.__getitems__([index])
        return images[0], int(labels[0])

    def __getitems__(self, indices) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B,) as one batch, for a DataLoader whose collate_fn is the identity."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        images = self.images[self.indices[indices]]
        if self.augment:
            images = self.augment(images)
        return self.normalise(images), self.labels[indices]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all images in order, as (images, labels); the last batch may be smaller."""
        return (self.__getitems__(indices) for indices in torch.arange(len(self)).split(size))

    def subset(self, indices) -> "Split":
        """The images at these indices of the split."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        return Split(self.images, self.labels[indices], self.indices[indices], self.normalise, self.augment)

    def to(self, device: str) -> "Split":
        """The split with labels and images on a device, where batches are then made; images on disk stay there."""
        images = self.images.to(device) if isinstance(self.images, Tensor) else self.images
        return Split(images, self.labels.to(device), self.indices, self.normalise, self.augment)

    def augmented(self, name: str | None) -> "Split":
        """The same images, augmented on every access with random numbers from torch's global generator."""
        augment = AUGMENTATIONS[name] if name else None
        return Split(self.images, self.labels, self.indices, self.normalise, augment)

    @property
    def indices_hash(self) -> str:
        """SHA-256 (hex) of the positions of these images in the official order."""
        return sha256(self.indices.numpy())


@dataclass(frozen=True)
class ImageDataset:
    """A dataset with its splits.

    Attributes:
        name: Name of the dataset.
        classes: Number of classes.
        shape: (C, H, W) of an image.
        train: Training images.
        validation: Images held out of the training images.
        test: Test images.
        hash: SHA-256 (hex) of the decoded images and labels, training before test.
        official: Whether all files are the official ones.
    """

    name: str
    classes: int
    shape: tuple[int, int, int]
    train: Split
    validation: Split
    test: Split
    hash: str
    official: bool

    def calibration(self, n: int, seed: int = 0) -> Split:
        """N distinct images of `train`; with the same seed, a smaller n gives a prefix of a larger one."""
        if not 0 < n <= len(self.train):
            raise UserError(f"{self.name} has {len(self.train)} training images and cannot give {n} for calibration.")
        return self.train.subset(np.random.RandomState(seed).permutation(len(self.train))[:n])

    def normalised(self, normalisation: dict | None) -> "ImageDataset":
        """The same dataset with another normalisation; `hash` does not change.

        Args:
            normalisation: Fields of `Normalise`; None keeps the present one.
        """
        if normalisation is None:
            return self
        old, normalise = (self.train, self.validation, self.test), Normalise(**normalisation)
        train, validation, test = (Split(s.images, s.labels, s.indices, normalise, s.augment) for s in old)
        return replace(self, train=train, validation=validation, test=test)


def make_split(images, labels: np.ndarray, indices: np.ndarray, normalise: Normalise) -> Split:
    """The split with the images at `indices`; `labels` are those of all images."""
    images = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
    return Split(images, torch.from_numpy(labels[indices]), torch.from_numpy(indices), normalise)


def make_splits(train, test, normalise: Normalise, max_validation: int) -> tuple[Split, Split, Split]:
    """Training, validation and test splits.

    Args:
        train: (images, labels) of the official training images.
        test: (images, labels) of the test images.
        normalise: Normalisation of all splits.
        max_validation: Size of the validation split, unless a tenth of the training images is less. Its images are
            drawn by `RandomState(0)`.
    """
    (images, labels), (test_images, test_labels) = train, test
    n = len(labels)
    order = np.random.RandomState(0).permutation(n)
    held_out = min(max_validation, max(1, n // 10))
    validation, kept = np.sort(order[:held_out]), np.sort(order[held_out:])
    return (
        make_split(images, labels, kept, normalise),
        make_split(images, labels, validation, normalise),
        make_split(test_images, test_labels, np.arange(len(test_labels)), normalise),
    )


def dataset_in_memory(name, classes, train, test, normalise, official) -> ImageDataset:
    """A dataset from (images, labels) of its training and test images, as arrays."""
    # torch.from_numpy requires writable arrays
    train, test = ([np.require(array, requirements=("C", "W")) for array in part] for part in (train, test))
    splits = make_splits(train, test, normalise, max_validation=5000)
    return ImageDataset(name, classes, train[0].shape[1:], *splits, sha256(*train, *test), official)


def sha256(*arrays: np.ndarray) -> str:
    """SHA-256 (hex) of the dtypes, shapes and values of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
