"""Conversion by the name of a method."""

from collections.abc import Iterable

from torch import Tensor, fx

from ann2snn.calibration.images import batches_of
from ann2snn.calibration.statistics import Statistics
from ann2snn.errors import UserError
from ann2snn.methods.registry import find


def convert(
    ann: fx.GraphModule,
    method: str,
    calibration: Statistics | Tensor | Iterable,
    T: int | None = None,
    *,
    seed: int = 0,
    **options,
) -> fx.GraphModule:
    """Convert a prepared network to a spiking one.

    Args:
        ann: The network from `prepare`. It is not changed.
        method: Name of a conversion method, such as "optimal"; `ann2snn list methods` lists all.
        calibration: Calibration images (N, C, H, W), an iterable of batches, or the `Statistics` of an earlier call.
            A batch may be a pair (images, labels) of a DataLoader. Batches are read again for every statistic and not
            stored, unless they come from an iterator, which can be read only once. Methods that calibrate on the
            images themselves use all of a tensor, and the first 1,024 images of batches.
        T: Number of steps. Methods that convert for a given number of steps need it.
        seed: Seed of methods that draw random numbers.
        **options: Options of the method, such as `reset="hard"`.

    Returns:
        The spiking network, for `simulate`.

    Raises:
        UserError: An argument or an option is not valid, or the method does not convert such networks.
    """
    if not isinstance(ann, fx.GraphModule):
        raise UserError(
            f"convert takes a prepared network, not {type(ann).__name__}: call prepare(net, example) first."
        )
    if not isinstance(method, str):
        raise UserError(f"A method is called by its name, such as 'optimal', not {method!r}.")
    if not isinstance(calibration, Statistics):
        calibration = Statistics(ann, *batches_of(calibration))
    elif calibration.ann is not ann:
        raise UserError("These statistics are of another network: make statistics of this one.")
    return find(method)(ann, calibration, T, seed=seed, **options)
