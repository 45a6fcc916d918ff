"""The profiles of `./reproduce.sh`: tables of jobs by name."""

from dataclasses import replace

from ann2snn.pipeline import Sweep

RESETS = ("soft", "hard")
METHODS = tuple((name, {"reset": reset}) for name in ("optimal", "max_norm", "robust_norm", "opi") for reset in RESETS)
T = (1, 2, 4, 8, 16, 32, 64, 128)


def digits(id: str, network: str, activations: tuple[str, ...] = ("threshold_relu:1", "relu")) -> Sweep:
    """All methods on one network for the digits, three training seeds; one thread, on which networks this small lose
    little and every machine rounds alike."""
    return Sweep(id, "digits", (network,), activations, seeds=(0, 1, 2), methods=METHODS, T=T, threads=1)


DIGITS = (
    digits("digits-plain", "digits_plain"),
    digits("digits-residual", "digits_residual"),
    digits("digits-timm", "test_resnet", activations=("threshold_relu:1",)),
)
QUICK = tuple(replace(table, T=T[:6]) for table in DIGITS[:2])

# ---------------------------------------------------------------------- CIFAR: He's ResNet-20, on a CPU in hours

Y_TH = {"cifar10": "threshold_relu:1", "cifar100": "threshold_relu:2", "imagenet": "threshold_relu:3"}  # the paper's
ABLATION = (METHODS[0], *METHODS[2:4])  # optimal with soft reset, max_norm with both


def resnet20(
    id: str, dataset: str, activations: tuple[str, ...], seeds=(0,), methods=ABLATION, T=T[:6], **how
) -> Sweep:
    return Sweep(id, dataset, ("cifar_resnet20",), activations, seeds, methods, T, **how)


CONVENTIONS = tuple(  # of the paper's code, one at a time
    ("deng_code", option)
    for option in ({"readout": "spiking"}, {"residual_shift": False}, {"shifts": 2}, {"shift_T": 32})
)
OPTIMAL = (("optimal", {"reset": "soft"}),)
CIFAR = (
    resnet20("cifar10-public", "cifar10", ("relu",), (None,), METHODS, T=T, recipe="akamaster-12fca82f"),
    resnet20("cifar10-resnet20", "cifar10", (Y_TH["cifar10"], "relu"), seeds=(0, 1)),
    resnet20("cifar100-resnet20", "cifar100", (Y_TH["cifar100"], "relu")),
    resnet20("cifar10-thresholds", "cifar10", tuple(f"threshold_relu:{y}" for y in ("0.5", "2", "4"))),
    resnet20("cifar10-conventions", "cifar10", (Y_TH["cifar10"],), methods=CONVENTIONS, T=(8, 16, 32)),
    resnet20(
        "cifar10-augmented",
        "cifar10",
        (Y_TH["cifar10"],),
        methods=OPTIMAL,
        T=(8, 16, 32),
        calibration_transform="crop_flip",
    ),
)

# -------------------------------------------- the paper's three networks: on a GPU in days, on a CPU one at a time

PAPER_METHODS = METHODS[:4]  # with and without shift, both resets


def paper(dataset: str, network: str, **how) -> Sweep:
    """ReLU, threshold, threshold and training shift, three training seeds."""
    name = "-".join([dataset, network, *filter(None, [how.get("recipe")])])
    activations = (Y_TH[dataset], f"{Y_TH[dataset]}:32", "relu")
    return Sweep(name, dataset, (network,), activations, (0, 1, 2), PAPER_METHODS, (*T, 256), **how)


DENG = ("deng_cifarnet", "deng_vgg16", "deng_resnet20")
CONTRAST = ("deng_vgg16_bn", "deng_resnet20_bn")  # batch norm in the training, folded in the conversion
PAPER = (
    *(paper(dataset, network) for dataset in ("cifar10", "cifar100") for network in (*DENG, *CONTRAST)),
    paper("cifar10", "deng_vgg16", recipe="bn_removed"),
)
IMAGENET = (replace(paper("imagenet", "deng_vgg16_imagenet"), seeds=(0,)),)

PROFILES = {"quick": QUICK, "digits": DIGITS, "cifar": CIFAR, "paper": PAPER, "imagenet": IMAGENET}
