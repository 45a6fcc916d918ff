"""Ctrl-C on the command line ends the process with one sentence, whatever is running.

A KeyboardInterrupt is not enough: W&B, Lightning, and libraries that are being imported turn it into other errors or
ignore it. The process can end at any moment, as all files are written atomically.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RESUMES = "ann2snn: interrupted; the same command resumes where it stopped."
RESTARTS = "ann2snn: interrupted; the same command starts again."

_sentence = RESUMES
_closing = 0  # number of active `raise_on_interrupt` contexts
_interrupted = False


def exit_on_interrupt(sentence: str = RESUMES) -> None:
    """Makes Ctrl-C end the process with exit code 130, unless it is ignored, as in background jobs of a shell.

    Args:
        sentence: The sentence that is printed: `RESUMES`, or `RESTARTS` for a command that does not resume.
    """
    global _sentence
    _sentence = sentence
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle)


@contextmanager
def raise_on_interrupt() -> Iterator[None]:
    """Context manager in which Ctrl-C raises KeyboardInterrupt, for cleaning up; the process ends when it is left."""
    global _closing
    _closing += 1
    try:
        yield
    finally:
        _closing -= 1
        if _interrupted:
            _end()


def _handle(number, frame) -> None:
    global _interrupted
    if not _closing or _interrupted:
        _end()
    _interrupted = True
    raise KeyboardInterrupt


def _end() -> None:
    with suppress(OSError):
        os.write(2, f"{chr(10) * os.isatty(2)}{_sentence}\n".encode())  # sys.stderr may be in use
    os._exit(130)
