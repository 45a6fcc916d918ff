"""ImageNet, read from its pictures when they are fetched."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ann2snn.data.archives import absent, accepted, unofficial
from ann2snn.data.registry import dataset
from ann2snn.data.split import ImageDataset, Normalise, three_splits
from ann2snn.errors import UserError

IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PICTURES = (".jpeg", ".jpg", ".png", ".webp")
ARCHIVES = {"ILSVRC2012_img_train.tar": 147_897_477_120, "ILSVRC2012_img_val.tar": 6_744_924_160}  # bytes


@dataset
def imagenet(root: Path, accept_unofficial: bool) -> ImageDataset:
    """ImageNet-1k (Russakovsky et al. 2015): train/ and val/ with a folder of pictures per class, read when fetched.

    Shorter side to 256, centre crop of 224, torchvision's mean and std. The test split is the official validation set.
    `hash` covers paths and sizes, and official means the official numbers of images and classes, 50 test images of
    each: the 150 GB of pictures are not read to check them.
    """
    place = next(filter(_is_imagenet, (root, root / "imagenet")), None)
    if not place:
        raise _packed_or_absent(root)
    classes = _classes(place)
    (train, listed), (test, also_listed) = (_scan(place, part, classes) for part in ("train", "val"))
    counts = (len(train[1]), len(test[1]), len(classes))
    official = counts == (1_281_167, 50_000, 1000) and set(np.bincount(test[1])) == {50}
    if not official:
        defect = (
            f"{place} has {counts[0]:,} training and {counts[1]:,} test images in {counts[2]:,} classes, where ImageNet"
            " has 1,281,167 and 50,000 (50 of each class) in 1,000"
        )
        if not accept_unofficial:
            raise unofficial(defect, "complete it")
        accepted(defect)
    splits = three_splits(train, test, IMAGENET, most=10_000)
    digest = hashlib.sha256((listed + also_listed).encode()).hexdigest()
    return ImageDataset("imagenet", len(classes), (3, 224, 224), *splits, hash=digest, official=official)


def _is_imagenet(place: Path) -> bool:
    return os.path.isdir(place / "train") and os.path.isdir(place / "val")


def _packed_or_absent(root: Path) -> UserError:
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
    return absent(root, "ImageNet", wanted, _is_imagenet, extract)


def _classes(place: Path) -> list[str]:
    """The folders of classes, the same in train and val. UserError for anything that was not sorted into them."""
    found = {}
    for part in ("train", "val"):
        entries = list(os.scandir(place / part))
        stray = sorted(e.name for e in entries if e.name.lower().endswith((".tar", *PICTURES)) and not e.is_dir())
        if stray:
            raise UserError(
                f"{place / part} has pictures or archives beside the folders of classes, such as {stray[0]}"
                f" ({len(stray):,} in all): put each picture into its class's folder, extract each archive into one."
            )
        found[part] = {e.name for e in entries if e.is_dir()}
    for part, other in (("train", "val"), ("val", "train")):
        if lacking := sorted(found[other] - found[part]):
            raise UserError(
                f"{place / part} lacks {len(lacking):,} of the {len(found[other]):,} classes that {place / other} has,"
                f" such as {lacking[0]}: complete it."
            )
    if not found["train"]:
        raise UserError(f"{place / 'train'} has no folders of classes: put each picture into the folder of its class.")
    return sorted(found["train"])


def _scan(place: Path, part: str, classes: list[str]) -> tuple[tuple["ImageFiles", np.ndarray], str]:
    """The pictures below place/part as (images, labels), and a listing of their paths and sizes."""
    entries = [
        (label, f"{part}/{wnid}/{entry.name}", entry.stat().st_size)
        for label, wnid in enumerate(classes)
        for entry in sorted(os.scandir(place / part / wnid), key=lambda e: e.name)
        if entry.name.lower().endswith(PICTURES)
    ]
    if lacking := sorted(set(range(len(classes))) - {label for label, _, _ in entries}):
        raise UserError(
            f"{place / part} has no pictures of {len(lacking):,} of its {len(classes):,} classes, such as"
            f" {classes[lacking[0]]}: complete it."
        )
    if empty := [path for _, path, size in entries if not size]:
        raise UserError(f"{place / empty[0]} is an empty file ({len(empty):,} in all): fetch it again.")
    images = ImageFiles([str(place / path) for _, path, _ in entries])
    labels = np.array([label for label, _, _ in entries], np.int64)
    return (images, labels), "".join(f"{path} {size}\n" for _, path, size in entries)


class ImageFiles:
    """Pictures in files: a tensor of indices (B,) gives uint8 (B, 3, 224, 224)."""

    def __init__(self, paths: list[str]):
        self.paths = paths

    def __getitem__(self, indices: Tensor) -> Tensor:
        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(picture, [self.paths[i] for i in indices.tolist()])))


def picture(path: str | Path, shorter: int = 256, side: int = 224) -> Tensor:
    """uint8 (3, side, side): the middle of the picture, once Pillow's bilinear filter took its shorter side to that."""
    from PIL import Image
    from torchvision.transforms import CenterCrop, Resize
    from torchvision.transforms.functional import pil_to_tensor

    try:
        with Image.open(path) as image:
            return pil_to_tensor(CenterCrop(side)(Resize(shorter)(image.convert("RGB"))))
    except Exception as error:  # a damaged picture can raise anything
        raise UserError(f"{path} is no readable picture ({error}): fetch it again.") from error
