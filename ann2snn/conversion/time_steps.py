"""The number of time steps T."""

from numbers import Integral

from ann2snn.errors import UserError

LONGEST = 2**15 - 1  # steps; spikes are counted in 16 bits


def steps(T: int) -> int:
    """T, where it is a number of steps."""
    if isinstance(T, bool) or not isinstance(T, Integral) or T < 1:
        raise UserError(f"T is a number of steps, an integer of 1 or more; {T!r} is not.")
    if T > LONGEST:
        raise UserError(f"T = {T} is too long: at most {LONGEST:,} steps can be simulated.")
    return int(T)
