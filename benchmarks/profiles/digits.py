"""Every classic method on three networks for the digits, three training seeds each: minutes on a CPU."""

from ann2snn.experiments.presets import ACTIVATIONS, CLASSIC_VARIANTS, TIME_STEPS
from ann2snn.experiments.sweep import Sweep


def digits(id: str, network: str, activations: tuple[str, ...] = ACTIVATIONS) -> Sweep:
    """All classic methods on one network.

    It runs on one CPU thread: these networks gain little from more, and their numbers then are the same on every
    machine.
    """
    return Sweep(
        id, "digits", (network,), activations, seeds=(0, 1, 2), methods=CLASSIC_VARIANTS, T=TIME_STEPS, threads=1
    )


TABLES = (
    digits("digits-plain", "digits_plain"),
    digits("digits-residual", "digits_residual"),
    digits("digits-timm", "test_resnet", activations=("threshold_relu:1",)),
)
