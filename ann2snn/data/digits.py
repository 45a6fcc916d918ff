"""The digits of scikit-learn, which need no files."""

from pathlib import Path

import numpy as np

from ann2snn.data.registry import dataset
from ann2snn.data.split import ImageDataset, Normalise, make_split, sha256
from ann2snn.errors import UserError

PERMUTATION = "1f867892c0c3af81a9b7c136ea59e794711704fc4281a8b43b7d6cf3e1e4a63d"


@dataset
def digits(root: Path, accept_unofficial: bool) -> ImageDataset:
    """The 1,797 handwritten digits of scikit-learn (Alpaydin & Kaynak 1998): 8x8 pixels of 0 to 16, divided by 16."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    indices = np.arange(len(labels))
    train, rest = map(np.asarray, train_test_split(indices, train_size=1077, stratify=labels, random_state=0))
    validation, test = map(np.asarray, train_test_split(rest, train_size=360, stratify=labels[rest], random_state=0))
    if sha256(train, validation, test) != PERMUTATION:
        raise UserError(
            "This scikit-learn splits the digits differently; install the version that requirements.lock pins."
        )
    images, labels = pixels.astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.int64)
    normalise = Normalise((0.0,), (1.0,), scale=16.0)
    splits = [make_split(images, labels, indices, normalise) for indices in (train, validation, test)]
    return ImageDataset("digits", 10, (1, 8, 8), *splits, hash=sha256(images, labels), official=True)
