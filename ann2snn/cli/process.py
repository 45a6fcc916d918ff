"""Set-up of the process before a command runs: encoding of the output, idle threads."""

import codecs
import os
import sys
from collections.abc import MutableMapping

ASCII = {"±": "+/-", "†": "*", "→": "->", "−": "-", "×": "x", "≤": "<=", "≥": ">=", "…": "...", "–": "-", "·": "."}


def replace_unencodable() -> None:
    """Lets stdout and stderr replace characters that their encoding lacks (`±` by `+/-`, others by `?`)."""
    codecs.register_error("ann2snn.ascii", _to_ascii)
    for stream in (sys.stdout, sys.stderr):
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(errors="ann2snn.ascii")


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(ASCII.get(character, "?") for character in error.object[error.start : error.end]), error.end


WAIT_POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def sleep_while_waiting(environ: MutableMapping[str, str] = os.environ) -> None:
    """Lets idle OpenMP threads sleep instead of spinning, unless the environment sets their policy.

    Takes effect only before torch is imported.
    """
    if not any(name in environ for name in WAIT_POLICIES):
        environ["OMP_WAIT_POLICY"] = "passive"
