"""The one error that a user is meant to read."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """One sentence that names what is wrong and the mend; the command line prints it and exits with 2."""


class StorageError(UserError):
    """Results cannot be written: no further work makes sense before that is mended."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """For a name that is none of the `known`: with the nearest of them, or the first 30 where none is near."""
    known = list(known)
    if near := get_close_matches(name, known, 3, 0.4):
        return UserError(f"No {kind} is called {name!r}; the nearest are: {', '.join(near)}.")
    some = known[:30] + ["..."] * (len(known) > 30)
    return UserError(f"No {kind} is called {name!r}; there are: {', '.join(some)}.")
