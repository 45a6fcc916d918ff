"""What is known of a dataset without its files."""

from typing import NamedTuple


class DatasetInfo(NamedTuple):
    classes: int
    shape: tuple[int, int, int]  # (C, H, W)
    images: tuple[int, int, int]  # to train, to validate and to test
    y_th: int  # where the paper cuts the ReLU; on data that it has not, where this suite does


DATASETS = {
    "digits": DatasetInfo(10, (1, 8, 8), (1077, 360, 360), 1),
    "cifar10": DatasetInfo(10, (3, 32, 32), (45_000, 5_000, 10_000), 1),
    "cifar100": DatasetInfo(100, (3, 32, 32), (45_000, 5_000, 10_000), 2),
    "fashion_mnist": DatasetInfo(10, (1, 28, 28), (55_000, 5_000, 10_000), 1),
    "imagenet": DatasetInfo(1000, (3, 224, 224), (1_271_167, 10_000, 50_000), 3),
}
