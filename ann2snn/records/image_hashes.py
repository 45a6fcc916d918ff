"""A hash for every test image of the data of published records, so that other copies can be compared with them.

`results/images/<dataset>-<data hash>.json` lets a record be rechecked on data of which some test images are other ones.
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

BYTES = 8  # of the SHA-256 of an image and its label


def of_test(data: ImageDataset) -> np.ndarray:
    """uint64 (N,): the hashes of all test images, in their order."""
    split = data.test
    if not isinstance(split.images, Tensor):
        raise UserError(f"The images of {data.name} are not in memory, and have no hashes.")
    images, labels = split.images[split.indices].numpy(), split.labels.numpy()
    digests = (
        hashlib.sha256(image.tobytes() + int(label).to_bytes(2, "little")).digest()[:BYTES]
        for image, label in zip(images, labels, strict=True)
    )
    return np.frombuffer(b"".join(digests), "<u8")


def of_training(data: ImageDataset) -> str:
    """SHA-256 over all images and labels that are trained or validated on, in the order of the two splits."""
    parts = (data.train, data.validation)
    images = (split.images[split.indices].numpy() for split in parts)
    return sha256(*images, *(split.labels.numpy() for split in parts))


def path_of(dataset: str, data_hash: str, root: Path | str) -> Path:
    return Path(root) / "images" / f"{slug(dataset)}-{data_hash[:8]}.json"


def write(data: ImageDataset, root: Path | str) -> Path:
    """Writes the hashes of a dataset below `root`, and returns the file."""
    test = base64.b64encode(of_test(data).tobytes()).decode()
    content = {"dataset": data.name, "data_hash": data.hash, "training": of_training(data), "test": test}
    write_atomic(path := path_of(data.name, data.hash, root), json.dumps(content, indent=1) + "\n")
    return path


def publish(root: Path | str, data_root: Path | None) -> list[Path]:
    """Writes the hashes of all data below `root/records` that are not official, as far as these are found here."""
    written = []
    unofficial = {(r["job"]["dataset"], r["job"]["data_hash"]) for r in load_all(root) if not r["data"]["official"]}
    for dataset, data_hash in sorted(unofficial):
        if not path_of(dataset, data_hash, root).exists():
            try:
                data = load(dataset, data_root, accept_unofficial=True)
            except UserError:
                continue
            if data.hash == data_hash:
                written.append(write(data, root))
    return written


def equal(job: Job, data: ImageDataset, roots: list[Path]) -> np.ndarray:
    """Places (M,) of the test images of `data` that are those of the job.

    Args:
        job: Of a record that was made on other data of the same name.
        data: What is found here.
        roots: Folders below which the hashes of the job's data are looked for.

    Raises:
        UserError: There are no hashes, or the training images are other ones: then calibration would be too.
    """
    paths = (path_of(job.dataset, job.data_hash, root) for root in roots)
    path = next((path for path in paths if path.exists()), None)
    found = f"The record was made on other data than the {job.dataset} found here"
    if path is None:
        absent = path_of(job.dataset, job.data_hash, "")
        raise UserError(
            f"{found}, and no file {absent} beside it says which images are equal: name the folder of the record's data"
            " with --data-root."
        )
    training, test = _read(path, job)
    if training != of_training(data):
        raise UserError(f"{found}: the training images, which calibrate, differ. Name another folder with --data-root.")
    ours = of_test(data)
    n = min(len(ours), len(test))
    if not len(places := np.flatnonzero(ours[:n] == test[:n])):
        raise UserError(f"{found}: no test image is the same. Name another folder with --data-root.")
    return places


def _read(path: Path, job: Job) -> tuple[str, np.ndarray]:
    fix = "remove it, or take it from the repository again"
    content = read_json(path, fix)
    try:
        conform(content, dict.fromkeys(("dataset", "data_hash", "training", "test"), str), "file")
        if (content["dataset"], content["data_hash"]) != (job.dataset, job.data_hash):
            raise ValueError("it is of other data")
        return content["training"], np.frombuffer(base64.b64decode(content["test"], validate=True), "<u8")
    except (ValueError, binascii.Error) as error:
        raise DamagedFile(path, f"holds no hashes of images ({error})", fix) from None
