"""CIFAR-10 and CIFAR-100, from torchvision's pickles or the official binary version."""

import io
import pickle
from functools import partial
from pathlib import Path

import numpy as np

from ann2snn.data.archives import LAYOUTS, Layout, check_all_classes, check_images_and_labels, read_files
from ann2snn.data.registry import dataset
from ann2snn.data.split import ImageDataset, Normalise, dataset_in_memory

CIFAR10 = Normalise((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CIFAR100 = Normalise((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))


@dataset
def cifar10(root: Path, accept_unofficial: bool) -> ImageDataset:
    """CIFAR-10 (Krizhevsky 2009); mean and std as in Deng & Gu's code, where std is the mean over images."""
    return _cifar("cifar10", 10, CIFAR10, root, accept_unofficial)


@dataset
def cifar100(root: Path, accept_unofficial: bool) -> ImageDataset:
    """CIFAR-100 (Krizhevsky 2009), fine labels; mean and std as in Deng & Gu's code."""
    return _cifar("cifar100", 100, CIFAR100, root, accept_unofficial)


def _cifar(name: str, classes: int, normalise: Normalise, root: Path, accept_unofficial: bool) -> ImageDataset:
    parts, official, folder = read_files(name, root, accept_unofficial)
    *train, test = parts
    train = tuple(np.concatenate(arrays) for arrays in zip(*train, strict=True))
    check_all_classes(folder, classes, training=train[1], test=test[1])
    return dataset_in_memory(name, classes, train, test, normalise, official)


def _decode_binary(content: bytes, limits: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    size = len(limits) + 3072
    if len(content) % size:
        raise ValueError(f"{len(content):,} bytes are not a whole number of records of {size:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels, pixels = np.split(records, [len(limits)], axis=1)
    if (labels >= np.array(limits)).any():
        raise ValueError(f"the labels of a record are not below {limits}")
    return check_images_and_labels(pixels.reshape(-1, 3, 32, 32), labels[:, -1], limits[-1])


def _decode_pickle(content: bytes, limits: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    try:
        entry = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
        labels = entry["labels" if "labels" in entry else "fine_labels"]
        pixels, labels = entry["data"].reshape(-1, 3, 32, 32), np.array(labels, np.int64)
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"it is not a pickle of images and labels ({error})") from error
    return check_images_and_labels(pixels, labels, limits[-1])


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain values only, so that an unofficial file cannot run code."""

    def find_class(self, module, name):
        allowed = {
            "_reconstruct": np.empty(0).__reduce__()[0],
            "ndarray": np.ndarray,
            "dtype": lambda kind, align, copy: np.dtype(kind, bool(align), bool(copy)),  # Python 2 wrote 0 and 1
        }
        if module.startswith("numpy") and name in allowed:
            return allowed[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


LAYOUTS["cifar10"] = (
    Layout(
        "CIFAR10",
        "cifar-10-batches-py",
        {
            "data_batch_1": ("c99cafc152244af753f735de768cd75f", 10_000),
            "data_batch_2": ("d4bba439e000b95fd0a9bffe97cbabec", 10_000),
            "data_batch_3": ("54ebc095f3ab1f0389bbae665268c751", 10_000),
            "data_batch_4": ("634d18415352ddfa80567beed471001a", 10_000),
            "data_batch_5": ("482c414d41f54cd18b22e5b47cb7c3cb", 10_000),
            "test_batch": ("40351d587109b95175f43aff81a1287e", 10_000),
        },
        partial(_decode_pickle, limits=(10,)),
        ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    ),
    Layout(
        "CIFAR10",
        "cifar-10-batches-bin",
        {
            "data_batch_1.bin": ("5dd7e06a14cb22eb9f671a540d1b7c25", 10_000),
            "data_batch_2.bin": ("5ea93a67294ea407fff1d09f752e9692", 10_000),
            "data_batch_3.bin": ("942cd6a4bcdd0dd3c604fbe906cb4421", 10_000),
            "data_batch_4.bin": ("ae636b3ba5c66a11e91e8cb52e771fcb", 10_000),
            "data_batch_5.bin": ("53f37980c15c3d472c316c40844f3f0d", 10_000),
            "test_batch.bin": ("803d5f7f4d78ea53de84dbe85f74fb6d", 10_000),
        },
        partial(_decode_binary, limits=(10,)),
        ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    ),
)
LAYOUTS["cifar100"] = (
    Layout(
        "CIFAR100",
        "cifar-100-python",
        {
            "train": ("16019d7e3df5f24257cddd939b257f8d", 50_000),
            "test": ("f0ef6b0ae62326f3e7ffdfab6717acfc", 10_000),
        },
        partial(_decode_pickle, limits=(20, 100)),
        ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    ),
    Layout(
        "CIFAR100",
        "cifar-100-binary",
        {
            "train.bin": ("6172c7755cfe09b2fe270c85cebc1b15", 50_000),
            "test.bin": ("4499cfba6c016c1be1438163640a0898", 10_000),
        },
        partial(_decode_binary, limits=(20, 100)),
        ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    ),
)
