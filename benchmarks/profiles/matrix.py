"""Every method on the same sources: results/METHODS.md."""

from ann2snn.experiments.presets import (
    ACTIVATIONS,
    QUANTISERS,
    START_POTENTIALS,
    THRESHOLD_RELU,
    TIME_STEPS,
    TRAINED_ACTIVATIONS,
    VARIANTS,
)
from ann2snn.experiments.sweep import Sweep

LONG_METHODS = ("optimal", "robust_norm", "opi", "snnc_lp", "ftbc", "ltb")  # run at T = 64 and 128 too
STOCHASTIC = tuple((name, options) for name, options in VARIANTS if name in ("tpp", "permute"))
PUBLIC = {"seeds": (None,), "recipe": "akamaster-12fca82f"}
SOURCES = (("public", ("relu",), PUBLIC), ("cifar10", ACTIVATIONS[:1], {}))
PAPER_CALIBRATION = {128: ("snnc_lp", "snnc_ap"), 45_000: ("optimal", "ltb", "da_qcfs")}  # images, on CIFAR
FTBC_UPDATES = tuple(("ftbc", {"updates": n}) for n in (10, 20, 30, 40))  # the default, 50, is in VARIANTS


def matrix(id: str, dataset: str, network: str, activations: tuple[str, ...], seeds=(0,), **options) -> Sweep:
    """A table of one network, by default of all variants; `options` are further fields of the sweep."""
    return Sweep(id, dataset, (network,), activations, seeds, **{"methods": VARIANTS, "T": TIME_STEPS[:6]} | options)


def resnet20(id: str, activations: tuple[str, ...], seeds=(0,), **options) -> Sweep:
    """A table of He's ResNet-20 on CIFAR-10."""
    return matrix(id, "cifar10", "cifar_resnet20", activations, seeds, **options)


TABLES = (
    *(
        matrix(f"matrix-{kind}", "digits", f"digits_{kind}", (*ACTIVATIONS, *TRAINED_ACTIVATIONS), (0, 1, 2), threads=1)
        for kind in ("plain", "residual")
    ),
    resnet20("matrix-public", ("relu",), **PUBLIC),
    resnet20("matrix-cifar10", ACTIVATIONS, (0, 1)),
    matrix("matrix-cifar100", "cifar100", "cifar_resnet20", (THRESHOLD_RELU["cifar100"],)),
    resnet20("matrix-trained", TRAINED_ACTIVATIONS),
    resnet20("matrix-tuned", TRAINED_ACTIVATIONS, recipe="tuned"),  # a sixth of that training
    resnet20(
        "matrix-long",
        ("relu",),
        methods=tuple(variant for variant in VARIANTS if variant[0] in LONG_METHODS),
        T=TIME_STEPS[6:],
        **PUBLIC,
    ),
    *(
        resnet20(f"seeds-{kind}", activations, methods=STOCHASTIC, T=(16,), calibration_seeds=(1, 2), **source)
        for kind, activations, source in SOURCES
    ),
    *(
        resnet20(
            f"budget-{kind}-{images}",
            activations,
            T=(16,),
            calibration=images,
            methods=tuple((name, {}) for name in names),
            **source,
        )
        for kind, activations, source in SOURCES
        for images, names in PAPER_CALIBRATION.items()
    ),
    matrix("quantisers", "digits", "digits_residual", QUANTISERS, (0, 1, 2), methods=START_POTENTIALS, threads=1),
    resnet20("matrix-ftbc", ("relu",), methods=FTBC_UPDATES, T=(16,), **PUBLIC),
)
