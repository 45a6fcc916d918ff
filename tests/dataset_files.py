"""Small files in the formats of the datasets."""

import io
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

CIFAR10_BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def cifar_parts(classes: int, sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(0)
    return [(draw.integers(0, 256, (n, 3, 32, 32), np.uint8), np.arange(n) % classes) for n in sizes]


CIFAR_PARTS = {"cifar10": cifar_parts(10, [7, 8, 9, 10, 11, 13]), "cifar100": cifar_parts(100, [145, 113])}


def binary_files(name: str) -> dict[str, bytes]:
    if name == "cifar10":
        files = [f"cifar-10-batches-bin/{part}.bin" for part in CIFAR10_BATCHES]
    else:
        files = ["cifar-100-binary/train.bin", "cifar-100-binary/test.bin"]
    contents = []
    for images, labels in CIFAR_PARTS[name]:
        columns = [labels] if name == "cifar10" else [labels // 5, labels]
        records = np.column_stack([*columns, images.reshape(len(images), -1)])
        contents.append(records.astype(np.uint8).tobytes())
    return dict(zip(files, contents, strict=True))


class Python2Pickler(pickle._Pickler):
    """Writes strings and truth values as the Python 2 of the official files did."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    def save_truth(self, value):
        self.save_long(int(value))

    dispatch[bytes], dispatch[bool] = save_string, save_truth


def pickle_files(name: str) -> dict[str, bytes]:
    if name == "cifar10":
        files, key = [f"cifar-10-batches-py/{part}" for part in CIFAR10_BATCHES], b"labels"
    else:
        files, key = ["cifar-100-python/train", "cifar-100-python/test"], b"fine_labels"
    contents = []
    for images, labels in CIFAR_PARTS[name]:
        buffer = io.BytesIO()
        entry = {b"batch_label": b"part", b"data": images.reshape(len(images), -1), key: labels.tolist()}
        Python2Pickler(buffer, 2).dump(entry)
        contents.append(buffer.getvalue().replace(b"numpy._core", b"numpy.core"))
    return dict(zip(files, contents, strict=True))


def idx(array: np.ndarray) -> bytes:
    return (0x800 + array.ndim).to_bytes(4, "big") + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def fashion_files() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 45), ("t10k", 13)):
        files[f"FashionMNIST/raw/{part}-images-idx3-ubyte"] = idx(draw.integers(0, 256, (n, 28, 28), np.uint8))
        files[f"FashionMNIST/raw/{part}-labels-idx1-ubyte"] = idx((np.arange(n) % 10).astype(np.uint8))
    return files


def imagenet_files() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 6), ("val", 2)):
        for wnid in ("n01", "n02", "n03"):
            for i in range(count):
                buffer = io.BytesIO()
                Image.fromarray(draw.integers(0, 256, (40 + i, 50, 3), np.uint8)).save(buffer, "png")
                files[f"{part}/{wnid}/{i}{9 - i}.png"] = buffer.getvalue()
    return files


def write(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root
