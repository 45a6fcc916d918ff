"""ImageNet, whose pictures are read from disk on access."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ann2snn.data.archives import not_found_error, unofficial_error, warn_unofficial
from ann2snn.data.registry import dataset
from ann2snn.data.split import ImageDataset, Normalise, make_splits
from ann2snn.errors import UserError

IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PICTURES = (".jpeg", ".jpg", ".png", ".webp")
ARCHIVES = {"ILSVRC2012_img_train.tar": 147_897_477_120, "ILSVRC2012_img_val.tar": 6_744_924_160}  # bytes


@dataset
def imagenet(root: Path, accept_unofficial: bool) -> ImageDataset:
    """ImageNet-1k (Russakovsky et al. 2015): train/ and val/ with a folder of pictures per class.

    Pictures are resized to a shorter side of 256 and cropped to the central 224x224; mean and std are those of
    torchvision. The test split is the official validation set. As the 150 GB of pictures are not read to check them,
    `hash` covers paths and sizes, and `official` means that the numbers of images and classes are the official ones.
    """
    folder = next(filter(_is_imagenet, (root, root / "imagenet")), None)
    if not folder:
        raise _not_found(root)
    classes = _classes(folder)
    (train, listed), (test, also_listed) = (_scan(folder, part, classes) for part in ("train", "val"))
    counts = (len(train[1]), len(test[1]), len(classes))
    official = counts == (1_281_167, 50_000, 1000) and set(np.bincount(test[1])) == {50}
    if not official:
        defect = (
            f"{folder} has {counts[0]:,} training and {counts[1]:,} test images in {counts[2]:,} classes, where"
            " ImageNet has 1,281,167 and 50,000 (50 of each class) in 1,000"
        )
        if not accept_unofficial:
            raise unofficial_error(defect, "complete it")
        warn_unofficial(defect)
    splits = make_splits(train, test, IMAGENET, max_validation=10_000)
    digest = hashlib.sha256((listed + also_listed).encode()).hexdigest()
    return ImageDataset("imagenet", len(classes), (3, 224, 224), *splits, hash=digest, official=official)


def _is_imagenet(folder: Path) -> bool:
    return os.path.isdir(folder / "train") and os.path.isdir(folder / "val")


def _not_found(root: Path) -> UserError:
    extract = (
        f"`python -c \"from torchvision.datasets import ImageNet as d; d({str(root)!r}, 'train');"
        f" d({str(root)!r}, 'val')\"` extracts image-net.org's archives, with ILSVRC2012_devkit_t12.tar.gz beside them"
    )
    for name, size in ARCHIVES.items():
        for path in sorted(root.glob(f"{name}*")):
            if (found := path.stat().st_size) != size:
                return UserError(f"{path} has {found:,} bytes, not the official {size:,}: fetch it again.")
            return UserError(f"{path} is not extracted: {extract}.")
    wanted = "folders train and val (in each a folder of pictures per class)"
    return not_found_error(root, "ImageNet", wanted, _is_imagenet, extract)


def _classes(folder: Path) -> list[str]:
    """The folders of classes, sorted; they must be the same in train and val, with no pictures beside them."""
    found = {}
    for part in ("train", "val"):
        entries = list(os.scandir(folder / part))
        stray = sorted(e.name for e in entries if e.name.lower().endswith((".tar", *PICTURES)) and not e.is_dir())
        if stray:
            raise UserError(
                f"{folder / part} has pictures or archives beside the folders of classes, such as {stray[0]}"
                f" ({len(stray):,} in all): put each picture into its class's folder, extract each archive into one."
            )
        found[part] = {e.name for e in entries if e.is_dir()}
    for part, other in (("train", "val"), ("val", "train")):
        if lacking := sorted(found[other] - found[part]):
            raise UserError(
                f"{folder / part} lacks {len(lacking):,} of the {len(found[other]):,} classes that {folder / other}"
                f" has, such as {lacking[0]}: complete it."
            )
    if not found["train"]:
        raise UserError(f"{folder / 'train'} has no folders of classes: put each picture into the folder of its class.")
    return sorted(found["train"])


def _scan(folder: Path, part: str, classes: list[str]) -> tuple[tuple["ImageFiles", np.ndarray], str]:
    """(images, labels) of the pictures below folder/part, and a listing of their paths and sizes."""
    entries = [
        (label, f"{part}/{wnid}/{entry.name}", entry.stat().st_size)
        for label, wnid in enumerate(classes)
        for entry in sorted(os.scandir(folder / part / wnid), key=lambda e: e.name)
        if entry.name.lower().endswith(PICTURES)
    ]
    if lacking := sorted(set(range(len(classes))) - {label for label, _, _ in entries}):
        raise UserError(
            f"{folder / part} has no pictures of {len(lacking):,} of its {len(classes):,} classes, such as"
            f" {classes[lacking[0]]}: complete it."
        )
    if empty := [path for _, path, size in entries if not size]:
        raise UserError(f"{folder / empty[0]} is an empty file ({len(empty):,} in all): fetch it again.")
    images = ImageFiles([str(folder / path) for _, path, _ in entries])
    labels = np.array([label for label, _, _ in entries], np.int64)
    return (images, labels), "".join(f"{path} {size}\n" for _, path, size in entries)


class ImageFiles:
    """Pictures in files, indexed like a tensor: a tensor of indices (B,) gives uint8 (B, 3, 224, 224)."""

    def __init__(self, paths: list[str]):
        self.paths = paths

    def __getitem__(self, indices: Tensor) -> Tensor:
        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(picture, [self.paths[i] for i in indices.tolist()])))


def picture(path: str | Path, shorter: int = 256, side: int = 224) -> Tensor:
    """Reads a picture as uint8 (3, side, side).

    Args:
        path: The file.
        shorter: Length of the shorter side after resizing by Pillow's bilinear filter.
        side: Side of the central crop.

    Raises:
        UserError: The file is not a readable picture.
    """
    from PIL import Image
    from torchvision.transforms import CenterCrop, Resize
    from torchvision.transforms.functional import pil_to_tensor

    try:
        with Image.open(path) as image:
            return pil_to_tensor(CenterCrop(side)(Resize(shorter)(image.convert("RGB"))))
    except Exception as error:  # a damaged picture can raise anything
        raise UserError(f"{path} is not a readable picture ({error}): fetch it again.") from error
