"""Ctrl-C on the command line ends the process with one sentence, whatever is running.

A KeyboardInterrupt alone does not do that: libraries that are being imported, W&B and Lightning turn it into other
errors, or swallow it. Files are written whole or not at all, so that the process can end at any moment.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RESUMES = "ann2snn: interrupted; the same command goes on where it was."
RESTARTS = "ann2snn: interrupted; the same command starts again."

_sentence = RESUMES
_closing = 0  # how many `raise_on_interrupt` are running
_interrupted = False


def exit_on_interrupt(sentence: str = RESUMES) -> None:
    """From now on Ctrl-C ends the process with exit code 130, unless it is ignored as in background jobs of a shell.

    Args:
        sentence: What is printed then: `RESTARTS` for a command that does not resume.
    """
    global _sentence
    _sentence = sentence
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle)


@contextmanager
def raise_on_interrupt() -> Iterator[None]:
    """Inside, Ctrl-C raises KeyboardInterrupt, so that other processes are closed; then the process ends anyway."""
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
        os.write(2, f"{chr(10) * os.isatty(2)}{_sentence}\n".encode())  # not by sys.stderr, which may be in use
    os._exit(130)
