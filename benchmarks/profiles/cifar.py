"""He's ResNet-20 on CIFAR-10 and CIFAR-100: hours on a CPU."""

from ann2snn.experiments.presets import CLASSIC_VARIANTS, OPTIMAL, THRESHOLD_RELU, TIME_STEPS
from ann2snn.experiments.sweep import Sweep

ABLATION = (OPTIMAL, ("max_norm", {"reset": "soft"}), ("max_norm", {"reset": "hard"}))
CONVENTIONS = (  # of the paper's released code, one at a time
    ("deng_code", {"readout": "spiking"}),
    ("deng_code", {"residual_shift": False}),
    ("deng_code", {"shifts": 2}),
    ("deng_code", {"shift_T": 32}),
)
SHORT = (8, 16, 32)


def resnet20(
    id: str,
    dataset: str,
    activations: tuple[str, ...],
    seeds: tuple[int | None, ...] = (0,),
    methods: tuple[tuple[str, dict], ...] = ABLATION,
    T: tuple[int, ...] = TIME_STEPS[:6],
    **options,
) -> Sweep:
    """A table of He's ResNet-20; `options` are further fields of the sweep."""
    return Sweep(id, dataset, ("cifar_resnet20",), activations, seeds, methods, T, **options)


TABLES = (
    resnet20(
        "cifar10-public", "cifar10", ("relu",), (None,), CLASSIC_VARIANTS, TIME_STEPS, recipe="akamaster-12fca82f"
    ),
    resnet20("cifar10-resnet20", "cifar10", (THRESHOLD_RELU["cifar10"], "relu"), seeds=(0, 1)),
    resnet20("cifar100-resnet20", "cifar100", (THRESHOLD_RELU["cifar100"], "relu")),
    resnet20("cifar10-thresholds", "cifar10", ("threshold_relu:0.5", "threshold_relu:2", "threshold_relu:4")),
    resnet20("cifar10-conventions", "cifar10", (THRESHOLD_RELU["cifar10"],), methods=CONVENTIONS, T=SHORT),
    resnet20(
        "cifar10-augmented",
        "cifar10",
        (THRESHOLD_RELU["cifar10"],),
        methods=(OPTIMAL,),
        T=SHORT,
        calibration_transform="crop_flip",
    ),
)
