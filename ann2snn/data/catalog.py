"""Properties of datasets that are known without their files."""

from typing import NamedTuple


class DatasetInfo(NamedTuple):
    """Properties of a dataset."""

    classes: int
    shape: tuple[int, int, int]  # (C, H, W)
    images: tuple[int, int, int]  # training, validation, test
    y_th: int  # upper bound of the threshold ReLU in the paper, or for datasets that it does not use, in this suite


DATASETS = {
    "digits": DatasetInfo(10, (1, 8, 8), (1077, 360, 360), 1),
    "cifar10": DatasetInfo(10, (3, 32, 32), (45_000, 5_000, 10_000), 1),
    "cifar100": DatasetInfo(100, (3, 32, 32), (45_000, 5_000, 10_000), 2),
    "fashion_mnist": DatasetInfo(10, (1, 28, 28), (55_000, 5_000, 10_000), 1),
    "imagenet": DatasetInfo(1000, (3, 224, 224), (1_271_167, 10_000, 50_000), 3),
}
