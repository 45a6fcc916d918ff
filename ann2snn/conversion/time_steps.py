"""The number of time steps T."""

from numbers import Integral

from ann2snn.errors import UserError

MAX_STEPS = 2**15 - 1  # spike counters have 16 bits


def steps(T: int) -> int:
    """Check a number of time steps and return it as an int.

    Raises:
        UserError: T is not an integer, or not in 1 .. 32,767.
    """
    if isinstance(T, bool) or not isinstance(T, Integral) or T < 1:
        raise UserError(f"T is a number of steps, an integer of 1 or more; {T!r} is not.")
    if T > MAX_STEPS:
        raise UserError(f"T = {T} is too long: at most {MAX_STEPS:,} steps can be simulated.")
    return int(T)
