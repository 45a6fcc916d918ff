"""Errors whose message is written for the user."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """An error that the user can fix.

    The message is one sentence that names what is wrong and a fix. The command line prints it and exits with code 2.
    """


class StorageError(UserError):
    """Results cannot be written, so that no further work makes sense until this is fixed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """A UserError for a name that is not one of `known`.

    Args:
        kind: What the name stands for, such as "network".
        name: The name that was given.
        known: The valid names; the message lists the most similar ones, or the first 30 if none is similar.
    """
    known = list(known)
    similar = get_close_matches(name, known, 3, 0.4)
    if similar:
        return UserError(f"No {kind} is called {name!r}; the nearest are: {', '.join(similar)}.")
    shown = known[:30] + ["..."] * (len(known) > 30)
    return UserError(f"No {kind} is called {name!r}; there are: {', '.join(shown)}.")
