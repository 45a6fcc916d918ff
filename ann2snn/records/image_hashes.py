"""Hashes of the test images that published records were made on.

With the hashes in `results/images/<dataset>-<data hash>.json`, a record can be rechecked on a copy of the data in which
some test images differ.
"""

import base64
import binascii
import hashlib
import json
from pathlib import Path

import numpy as np
from torch import Tensor

from ann2snn.conform import conform
from ann2snn.data.registry import load
from ann2snn.data.split import ImageDataset, sha256
from ann2snn.errors import UserError
from ann2snn.files import slug, write_atomic
from ann2snn.reading import DamagedFile, read_json
from ann2snn.records.job import Job
from ann2snn.records.store import load_all

HASH_BYTES = 8  # leading bytes of the SHA-256 of an image and its label


def test_hashes(data: ImageDataset) -> np.ndarray:
    """Hashes (N,) uint64 of all test images, in order.

    Raises:
        UserError: The images are not in memory.
    """
    split = data.test
    if not isinstance(split.images, Tensor):
        raise UserError(f"The images of {data.name} are not in memory, and have no hashes.")
    images, labels = split.images[split.indices].numpy(), split.labels.numpy()
    digests = (
        hashlib.sha256(image.tobytes() + int(label).to_bytes(2, "little")).digest()[:HASH_BYTES]
        for image, label in zip(images, labels, strict=True)
    )
    return np.frombuffer(b"".join(digests), "<u8")


def training_hash(data: ImageDataset) -> str:
    """SHA-256 (hex) of all images and labels of the training and validation splits."""
    parts = (data.train, data.validation)
    images = (split.images[split.indices].numpy() for split in parts)
    return sha256(*images, *(split.labels.numpy() for split in parts))


def hashes_path(dataset: str, data_hash: str, root: Path | str) -> Path:
    """Path of the hashes of a dataset."""
    return Path(root) / "images" / f"{slug(dataset)}-{data_hash[:8]}.json"


def write(data: ImageDataset, root: Path | str) -> Path:
    """Writes the hashes of a dataset below `root`. Returns the path of the file."""
    test = base64.b64encode(test_hashes(data).tobytes()).decode()
    content = {"dataset": data.name, "data_hash": data.hash, "training": training_hash(data), "test": test}
    path = hashes_path(data.name, data.hash, root)
    write_atomic(path, json.dumps(content, indent=1) + "\n")
    return path


def publish(root: Path | str, data_root: Path | None) -> list[Path]:
    """Writes the hashes of the unofficial data of all records below `root`, where the data are in `data_root`.

    Returns:
        The new files.
    """
    written = []
    unofficial = {(r["job"]["dataset"], r["job"]["data_hash"]) for r in load_all(root) if not r["data"]["official"]}
    for dataset, data_hash in sorted(unofficial):
        if not hashes_path(dataset, data_hash, root).exists():
            try:
                data = load(dataset, data_root, accept_unofficial=True)
            except UserError:
                continue
            if data.hash == data_hash:
                written.append(write(data, root))
    return written


def matching_indices(job: Job, data: ImageDataset, roots: list[Path]) -> np.ndarray:
    """Indices (M,) of the test images of `data` that are equal to those of the job.

    Args:
        job: A job that was run on another copy of the data.
        data: The local copy.
        roots: Folders that may hold the hashes of the job's data.

    Raises:
        UserError: There are no hashes, no test image is equal, or the training images differ, which calibrate.
    """
    paths = (hashes_path(job.dataset, job.data_hash, root) for root in roots)
    path = next((path for path in paths if path.exists()), None)
    defect = f"The record was made on other data than the {job.dataset} found here"
    if path is None:
        missing = hashes_path(job.dataset, job.data_hash, "")
        raise UserError(
            f"{defect}, and no file {missing} beside it says which images are equal: name the folder of the record's"
            " data with --data-root."
        )
    training, test = _read(path, job)
    if training != training_hash(data):
        raise UserError(
            f"{defect}: the training images, which calibrate, differ. Name another folder with --data-root."
        )
    ours = test_hashes(data)
    n = min(len(ours), len(test))
    indices = np.flatnonzero(ours[:n] == test[:n])
    if not len(indices):
        raise UserError(f"{defect}: no test image is the same. Name another folder with --data-root.")
    return indices


def _read(path: Path, job: Job) -> tuple[str, np.ndarray]:
    fix = "remove it, or take it from the repository again"
    content = read_json(path, fix)
    try:
        conform(content, dict.fromkeys(("dataset", "data_hash", "training", "test"), str), "file")
        if (content["dataset"], content["data_hash"]) != (job.dataset, job.data_hash):
            raise ValueError("they are of other data")
        return content["training"], np.frombuffer(base64.b64decode(content["test"], validate=True), "<u8")
    except (ValueError, binascii.Error) as error:
        raise DamagedFile(path, f"does not hold hashes of images ({error})", fix) from None
