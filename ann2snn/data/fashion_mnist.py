"""Fashion-MNIST, from the plain files of torchvision or the gzipped files of its authors."""

from pathlib import Path

import numpy as np

from ann2snn.data.archives import LAYOUTS, Layout, check_all_classes, check_images_and_labels, read_files
from ann2snn.data.registry import dataset
from ann2snn.data.split import ImageDataset, Normalise, dataset_in_memory
from ann2snn.errors import UserError


@dataset
def fashion_mnist(root: Path, accept_unofficial: bool) -> ImageDataset:
    """Fashion-MNIST (Xiao et al. 2017), plain or gzipped; mean and std of its training pixels."""
    parts, official, folder = read_files("fashion_mnist", root, accept_unofficial)
    arrays = [array for (array,) in parts]
    try:
        train, test = (
            check_images_and_labels(arrays[i].reshape(-1, 1, 28, 28), arrays[i + 1].reshape(-1), 10) for i in (0, 2)
        )
    except ValueError as error:
        raise UserError(f"The files in {folder} are damaged: {error}; fetch them again.") from error
    check_all_classes(folder, 10, training=train[1], test=test[1])
    return dataset_in_memory("fashion_mnist", 10, train, test, Normalise((0.2860,), (0.3530,)), official)


def _decode_idx(content: bytes) -> tuple[np.ndarray]:
    """MNIST's idx format, big-endian: 0x800 + number of dimensions, the sizes, the values as uint8."""
    try:
        start = 4 + 4 * content[3]
        magic, *shape = np.frombuffer(content[:start], ">u4").tolist()
        if magic != 0x800 + len(shape):
            raise ValueError
        return (np.frombuffer(content, np.uint8, offset=start).reshape(shape),)
    except (IndexError, ValueError):
        raise ValueError(f"{len(content):,} bytes are not what its header says") from None


LAYOUTS["fashion_mnist"] = (
    Layout(
        "FashionMNIST",
        "FashionMNIST/raw",
        {
            "train-images-idx3-ubyte": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", 60_000),
            "train-labels-idx1-ubyte": ("9018921c3c673c538a1fc5bad174d6f9", 60_000),
            "t10k-images-idx3-ubyte": ("8181f5470baa50b63fa0f6fddb340f0a", 10_000),
            "t10k-labels-idx1-ubyte": ("15d484375f8d13e6eb1aabb0c3f46965", 10_000),
        },
        _decode_idx,
    ),
)
