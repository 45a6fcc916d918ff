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

PROFILES = {"quick": QUICK, "digits": DIGITS}
