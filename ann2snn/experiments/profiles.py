"""The profiles of `./reproduce.sh`: which sweeps make which tables."""

from dataclasses import replace

from ann2snn.data.catalog import DATASETS
from ann2snn.experiments.sweep import Sweep

RESETS = ("soft", "hard")
METHODS = tuple((name, {"reset": reset}) for name in ("optimal", "max_norm", "robust_norm", "opi") for reset in RESETS)
T = (1, 2, 4, 8, 16, 32, 64, 128)
ACTIVATIONS = ("threshold_relu:1", "relu")


def digits(id: str, network: str, activations: tuple[str, ...] = ACTIVATIONS) -> Sweep:
    """All methods on one network for the digits, with three training seeds.

    On one thread every machine rounds alike, and networks of this size are hardly slower.
    """
    return Sweep(id, "digits", (network,), activations, seeds=(0, 1, 2), methods=METHODS, T=T, threads=1)


DIGITS = (
    digits("digits-plain", "digits_plain"),
    digits("digits-residual", "digits_residual"),
    digits("digits-timm", "test_resnet", activations=("threshold_relu:1",)),
)
QUICK = tuple(replace(table, T=T[:6]) for table in DIGITS[:2])

# -------------------------------------------------------------------- CIFAR: He's ResNet-20, a few hours on a CPU

Y_TH = {name: f"threshold_relu:{DATASETS[name].y_th}" for name in ("cifar10", "cifar100", "imagenet")}  # of the paper
ABLATION = (METHODS[0], *METHODS[2:4])  # optimal with soft reset, max_norm with both


def resnet20(
    id: str, dataset: str, activations: tuple[str, ...], seeds=(0,), methods=ABLATION, T=T[:6], **fields
) -> Sweep:
    """A sweep of He's ResNet-20; `fields` are those of `Sweep`."""
    return Sweep(id, dataset, ("cifar_resnet20",), activations, seeds, methods, T, **fields)


CONVENTIONS = tuple(  # conventions of the paper's code, one at a time
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

# ------------------------------------------------ the paper's three networks: days on a GPU, one at a time on a CPU

PAPER_METHODS = METHODS[:4]  # with and without shift, both resets


def paper(dataset: str, network: str, **fields) -> Sweep:
    """A sweep of the paper: ReLU, threshold ReLU with and without training shift, three training seeds."""
    name = "-".join([dataset, network, *filter(None, [fields.get("recipe")])])
    activations = (Y_TH[dataset], f"{Y_TH[dataset]}:32", "relu")
    return Sweep(name, dataset, (network,), activations, (0, 1, 2), PAPER_METHODS, (*T, 256), **fields)


DENG = ("deng_cifarnet", "deng_vgg16", "deng_resnet20")
BATCH_NORM = ("deng_vgg16_bn", "deng_resnet20_bn")  # trained with batch norm, which is folded
PAPER = (
    *(paper(dataset, network) for dataset in ("cifar10", "cifar100") for network in (*DENG, *BATCH_NORM)),
    paper("cifar10", "deng_vgg16", recipe="bn_removed"),
)
IMAGENET = (replace(paper("imagenet", "deng_vgg16_imagenet"), seeds=(0,)),)

# -------------------------------------------------------- every method on the same sources: results/METHODS.md

VARIANTS = (
    *(METHODS[i] for i in (0, 2, 4, 6)),
    *(
        ("channel_norm", {"quantile": quantile, "start": start})
        for quantile, start in ((1.0, 0.0), (1.0, 0.5), (0.999, 0.5))
    ),
    ("mmse", {"error": "round"}),
    ("mmse", {"error": "floor"}),
    *((name, {}) for name in ("spike_norm", "rmp", "snnc_lp", "snnc_ap", "ftbc", "ltb", "srp", "cos")),
    ("accumulate_then_fire", {"per_channel": False}),
    *((name, {}) for name in ("accumulate_then_fire", "da_qcfs", "tpp", "permute", "qcfs", "tcl", "slip_relu")),
)
LONG_METHODS = ("optimal", "robust_norm", "opi", "snnc_lp", "ftbc", "ltb")  # also run to T = 128
TRAINED = ("qcfs:4", "qcfs:8", "tcl", "slip_relu:8:0.5")  # activations that some methods require


def matrix(id: str, dataset: str, network: str, activations: tuple[str, ...], seeds=(0,), **fields) -> Sweep:
    """A sweep of all methods on one network; `fields` are those of `Sweep`."""
    return Sweep(id, dataset, (network,), activations, seeds, **{"methods": VARIANTS, "T": T[:6]} | fields)


STOCHASTIC = tuple((name, options) for name, options in VARIANTS if name in ("tpp", "permute"))
PUBLIC = {"seeds": (None,), "recipe": "akamaster-12fca82f"}
SOURCES = (("public", ("relu",), PUBLIC), ("cifar10", ACTIVATIONS[:1], {}))
BUDGETS = {128: ("snnc_lp", "snnc_ap"), 45_000: ("optimal", "ltb", "da_qcfs")}  # calibration images in the papers
UPDATES = tuple(("ftbc", {"updates": n}) for n in (10, 20, 30, 40))  # its script evaluates every tenth of 50 updates
QUANTISERS = tuple(f"{TRAINED[0]}{rounding}" for rounding in (":floor", "", ":ceil"))
STARTS = tuple(("qcfs", {"reset": "soft", "start": start}) for start in (0.0, 0.5, 1.0))
MATRIX = (
    *(
        matrix(f"matrix-{kind}", "digits", f"digits_{kind}", (*ACTIVATIONS, *TRAINED), (0, 1, 2), threads=1)
        for kind in ("plain", "residual")
    ),
    matrix("matrix-public", "cifar10", "cifar_resnet20", ("relu",), **PUBLIC),
    matrix("matrix-cifar10", "cifar10", "cifar_resnet20", ACTIVATIONS, (0, 1)),
    matrix("matrix-cifar100", "cifar100", "cifar_resnet20", (Y_TH["cifar100"],)),
    matrix("matrix-trained", "cifar10", "cifar_resnet20", TRAINED),
    matrix("matrix-tuned", "cifar10", "cifar_resnet20", TRAINED, recipe="tuned"),  # a sixth of the training time
    matrix(
        "matrix-long",
        "cifar10",
        "cifar_resnet20",
        ("relu",),
        methods=tuple(variant for variant in VARIANTS if variant[0] in LONG_METHODS),
        T=T[6:],
        **PUBLIC,
    ),
    *(
        matrix(f"seeds-{kind}", "cifar10", "cifar_resnet20", activations, methods=STOCHASTIC, T=(16,),
               calibration_seeds=(1, 2), **fields)
        for kind, activations, fields in SOURCES
    ),
    *(
        matrix(f"budget-{kind}-{images}", "cifar10", "cifar_resnet20", activations, T=(16,), calibration=images,
               methods=tuple((name, {}) for name in names), **fields)
        for kind, activations, fields in SOURCES
        for images, names in BUDGETS.items()
    ),
    matrix("quantisers", "digits", "digits_residual", QUANTISERS, (0, 1, 2), methods=STARTS, threads=1),
    matrix("matrix-ftbc", "cifar10", "cifar_resnet20", ("relu",), methods=UPDATES, T=(16,), **PUBLIC),
)  # fmt: skip

PROFILES = {"quick": QUICK, "digits": DIGITS, "cifar": CIFAR, "paper": PAPER, "imagenet": IMAGENET, "matrix": MATRIX}
