"""Set-up of the process before a command runs."""

import codecs
import os
import sys
from collections.abc import MutableMapping

PLAIN = {"±": "+/-", "†": "*", "→": "->", "−": "-", "×": "x", "≤": "<=", "≥": ">=", "…": "...", "–": "-", "·": "."}


def encodable() -> None:
    """Makes stdout and stderr print in ASCII what their encoding lacks (`±` as `+/-`, other characters as `?`)."""
    codecs.register_error("ann2snn.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(errors="ann2snn.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def sleep_while_waiting(environ: MutableMapping[str, str] = os.environ) -> None:
    """Lets idle OpenMP threads sleep instead of spinning, unless the environment says how they wait.

    Call it before torch is imported.
    """
    if not any(name in environ for name in WAITING):
        environ["OMP_WAIT_POLICY"] = "passive"
