"""A progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


MAX_NOTE = 44  # characters beside a bar


class ProgressBar:
    """Shows progress on stderr: a tqdm bar on a terminal, a line every few seconds elsewhere.

    Args:
        label: Description of the work.
        total: Number of steps.
        done: Steps that were done before.
    """

    INTERVAL = 5.0  # seconds between lines

    def __init__(self, label: str, total: int, done: int = 0):
        self.label, self.total, self.done = label, total, done
        self.last_time, self.last_line, self.bar = time.monotonic(), "", None
        if sys.stderr.isatty():
            from tqdm import tqdm

            tqdm.write(label, file=sys.stderr)  # on a separate line, so that the bar fits into 80 columns
            form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self.bar = tqdm(total=total, initial=done, bar_format=form, dynamic_ncols=True, leave=False)

    def update(self, n: int = 1, note: str = "") -> None:
        """Adds n steps; `note` is shown beside the bar or in the line."""
        self.done += n
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note[:MAX_NOTE], refresh=False)
            self.bar.update(n)
        elif time.monotonic() - self.last_time > self.INTERVAL:
            self.last_time = time.monotonic()
            line = f"{self.label}: {100 * self.done / max(self.total, 1):.0f} %{', ' + note if note else ''}"
            if line != self.last_line:
                print(line, file=sys.stderr, flush=True)
            self.last_line = line

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


DELAY, INTERVAL = 2.5, 5.0  # seconds until a bar appears, and between lines


def track(iterable: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yields the items of `iterable` and shows progress on stderr, unless the loop ends within a few seconds.

    Args:
        iterable: The items.
        label: Short description of the work.
        total: Number of items of an iterable without a length.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        from tqdm import tqdm

        form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}" if total else None
        yield from tqdm(iterable, label, total, leave=False, delay=DELAY, dynamic_ncols=True, bar_format=form)
        return
    last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        if time.monotonic() - last > INTERVAL:
            last = time.monotonic()
            print(f"{label}: {f'{100 * done / total:.0f} %' if total else done}", file=sys.stderr, flush=True)
