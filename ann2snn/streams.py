"""What is printed reaches every terminal."""

import codecs
import sys

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
