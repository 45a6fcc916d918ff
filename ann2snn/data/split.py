"""Datasets as named splits of normalised images.

Images are kept as uint8 and normalised when they are fetched.
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
    """(x / scale - mean) / std per channel, in the operations and the order of torchvision's ToTensor and Normalize."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0

    def __call__(self, images: Tensor) -> Tensor:  # uint8 (..., C, H, W) -> float32, the same shape
        mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return images.float().div(self.scale).sub(mean).div(std)


class Split(Dataset):
    """Some images of a dataset, in a fixed order: `split[i] -> (float32 (C, H, W), int)`, normalised.

    `images` is a uint8 tensor (M, C, H, W), or anything that gives one for a tensor of indices; `indices` (N,) says
    which of them are here, `labels` (N,) are their classes. `augment` maps a uint8 batch to another, to be normalised.
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
        """Images (B, C, H, W) and labels (B,) in one go, for a DataLoader whose collate_fn is the identity."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        images = self.images[self.indices[indices]]
        if self.augment:
            images = self.augment(images)
        return self.normalise(images), self.labels[indices]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once and in order; the last batch has what is left."""
        return (self.__getitems__(indices) for indices in torch.arange(len(self)).split(size))

    def subset(self, indices) -> "Split":
        indices = torch.as_tensor(indices, dtype=torch.int64)
        return Split(self.images, self.labels[indices], self.indices[indices], self.normalise, self.augment)

    def to(self, device: str) -> "Split":
        """With images and labels in the memory of a device, where they are in memory at all: batches are made there."""
        images = self.images.to(device) if isinstance(self.images, Tensor) else self.images
        return Split(images, self.labels.to(device), self.indices, self.normalise, self.augment)

    def augmented(self, name: str | None) -> "Split":
        """The same images, augmented anew at every fetch with draws from torch's global generator."""
        augment = AUGMENTATIONS[name] if name else None
        return Split(self.images, self.labels, self.indices, self.normalise, augment)

    @property
    def indices_hash(self) -> str:
        """sha256 over the places of these images in the official order."""
        return sha256(self.indices.numpy())


@dataclass(frozen=True)
class ImageDataset:
    """A dataset. `shape` is (C, H, W); `hash` is a sha256 over the decoded images and labels, training before test."""

    name: str
    classes: int
    shape: tuple[int, int, int]
    train: Split
    validation: Split
    test: Split
    hash: str
    official: bool

    def calibration(self, n: int, seed: int = 0) -> Split:
        """n distinct images of `train`, as they are; with the same seed a smaller n gives a prefix of a larger one."""
        if not 0 < n <= len(self.train):
            raise UserError(f"{self.name} has {len(self.train)} training images and cannot give {n} for calibration.")
        return self.train.subset(np.random.RandomState(seed).permutation(len(self.train))[:n])

    def normalised(self, how: dict | None) -> "ImageDataset":
        """The same images in another normalisation, `Normalise`'s fields, or as they are (None).

        `hash` is of the decoded images and stays.
        """
        if how is None:
            return self
        old, normalise = (self.train, self.validation, self.test), Normalise(**how)
        train, validation, test = (Split(s.images, s.labels, s.indices, normalise, s.augment) for s in old)
        return replace(self, train=train, validation=validation, test=test)


def split_of(images, labels: np.ndarray, indices: np.ndarray, normalise: Normalise) -> Split:
    images = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
    return Split(images, torch.from_numpy(labels[indices]), torch.from_numpy(indices), normalise)


def three_splits(train, test, normalise: Normalise, most: int) -> tuple[Split, Split, Split]:
    """Train, validation (a tenth of the training images, at most `most`, drawn by RandomState(0)), and test."""
    (images, labels), (test_images, test_labels) = train, test
    n = len(labels)
    order = np.random.RandomState(0).permutation(n)
    held_out = min(most, max(1, n // 10))
    validation, kept = np.sort(order[:held_out]), np.sort(order[held_out:])
    return (
        split_of(images, labels, kept, normalise),
        split_of(images, labels, validation, normalise),
        split_of(test_images, test_labels, np.arange(len(test_labels)), normalise),
    )


def in_memory(name, classes, train, test, normalise, official) -> ImageDataset:
    """A dataset from (images, labels) of train and test; torch wants arrays that it may write to."""
    train, test = ([np.require(array, requirements=("C", "W")) for array in part] for part in (train, test))
    splits = three_splits(train, test, normalise, most=5000)
    return ImageDataset(name, classes, train[0].shape[1:], *splits, sha256(*train, *test), official)


def sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
