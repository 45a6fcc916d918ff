"""Conversion by a method's name."""

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
    """The spiking network of a prepared `ann`, by a method's name; `ann` stays as it is.

    `calibration` is a tensor of images (N, C, H, W), batches of them (a DataLoader's (images, labels) will do), or the
    Statistics of an earlier call. Batches are read again for every statistic and not kept, unless they come from an
    iterator, which can be read once only. A method that calibrates on the images themselves takes the first 1,024 of
    them, and all of a tensor. `T` is needed by methods that convert for a given number of steps, and `seed` by those
    that draw. Options are the method's own, such as `reset="hard"`.
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
        raise UserError("These statistics are of another network than this one: make them anew.")
    return find(method)(ann, calibration, T, seed=seed, **options)
