"""ImageNet, read from its pictures when they are fetched."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ann2snn.data import Data, Normalise, dataset, three_splits
from ann2snn.errors import UserError


@dataset
def imagenet(root: Path, accept_unofficial: bool) -> Data:
    """ImageNet-1k (Russakovsky et al. 2015): train/ and val/ with a folder of pictures per class, read when fetched.

    Shorter side to 256, centre crop of 224, torchvision's mean and std. The test split is the official validation set.
    `hash` covers paths and sizes, and official means the official numbers of images and classes: the 150 GB of pictures
    are not read to check them.
    """
    place = next((p for p in (root, root / "imagenet") if (p / "train").is_dir() and (p / "val").is_dir()), None)
    if not place:
        raise UserError(
            f"ImageNet is not in {root}: put its folders train and val there, each with a folder of pictures per class"
            " (torchvision.datasets.ImageNet makes them from image-net.org's archives),"
            " or name the place by --data-root or ANN2SNN_DATA."
        )
    classes = sorted(entry.name for entry in os.scandir(place / "train") if entry.is_dir())
    (train, listed), (test, also_listed) = (_scan(place, part, classes) for part in ("train", "val"))
    counts = (len(train[1]), len(test[1]), len(classes))
    official = counts == (1_281_167, 50_000, 1000)
    if not official and not accept_unofficial:
        raise UserError(
            f"{place} has {counts[0]:,} training and {counts[1]:,} test images in {counts[2]:,} classes, where ImageNet"
            " has 1,281,167 and 50,000 in 1,000; complete it, or take it as it is with --accept-unofficial-data."
        )
    normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    splits = three_splits(train, test, normalise, most=10_000)
    digest = hashlib.sha256((listed + also_listed).encode()).hexdigest()
    return Data("imagenet", len(classes), (3, 224, 224), *splits, hash=digest, official=official)


def _scan(place: Path, part: str, classes: list[str]) -> tuple[tuple["ImageFiles", np.ndarray], str]:
    """The pictures below place/part as (images, labels), and a listing of their paths and sizes."""
    found = {entry.name for entry in os.scandir(place / part) if entry.is_dir()}
    if unknown := found - set(classes):
        raise UserError(f"{place / part} has the class {min(unknown)}, which {place / 'train'} has not.")
    entries = [
        (label, f"{part}/{wnid}/{entry.name}", entry.stat().st_size)
        for label, wnid in enumerate(classes)
        if wnid in found
        for entry in sorted(os.scandir(place / part / wnid), key=lambda e: e.name)
        if entry.name.lower().endswith((".jpeg", ".jpg", ".png", ".webp"))
    ]
    if not entries:
        raise UserError(f"{place / part} has no pictures in folders of classes.")
    images = ImageFiles([str(place / path) for _, path, _ in entries])
    labels = np.array([label for label, _, _ in entries], np.int64)
    return (images, labels), "".join(f"{path} {size}\n" for _, path, size in entries)


class ImageFiles:
    """Pictures in files: a tensor of indices (B,) gives uint8 (B, 3, 224, 224)."""

    def __init__(self, paths: list[str]):
        self.paths = paths

    def __getitem__(self, indices: Tensor) -> Tensor:
        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(_picture, [self.paths[i] for i in indices.tolist()])))


def _picture(path: str) -> Tensor:
    from PIL import Image
    from torchvision.transforms import CenterCrop, Resize
    from torchvision.transforms.functional import pil_to_tensor

    try:
        with Image.open(path) as image:
            return pil_to_tensor(CenterCrop(224)(Resize(256)(image.convert("RGB"))))
    except OSError as error:
        raise UserError(f"{path} is no readable picture: {error}.") from error
