"""The paper's three networks on CIFAR-10 and CIFAR-100, with and without batch norm: days on a GPU."""

from ann2snn.experiments.presets import CLASSIC_VARIANTS, DENG_NETWORKS, THRESHOLD_RELU, TIME_STEPS
from ann2snn.experiments.sweep import Sweep

METHODS = CLASSIC_VARIANTS[:4]  # optimal and max_norm: with and without the shift, both resets
CONTRAST = ("deng_vgg16_bn", "deng_resnet20_bn")  # trained with batch norm, which the conversion folds


def paper(dataset: str, network: str, recipe: str | None = None, seeds: tuple[int, ...] = (0, 1, 2)) -> Sweep:
    """Sources with threshold ReLU, with threshold ReLU and the shift in training, and with ReLU."""
    name = f"{dataset}-{network}-{recipe}" if recipe else f"{dataset}-{network}"
    activations = (THRESHOLD_RELU[dataset], f"{THRESHOLD_RELU[dataset]}:32", "relu")
    return Sweep(name, dataset, (network,), activations, seeds, METHODS, (*TIME_STEPS, 256), recipe=recipe)


TABLES = (
    *(paper(dataset, network) for dataset in ("cifar10", "cifar100") for network in (*DENG_NETWORKS, *CONTRAST)),
    paper("cifar10", "deng_vgg16", recipe="bn_removed"),
)
