"""A progress bar on a terminal, plain lines elsewhere."""

import sys
import time


class Bar:
    """Counts to `total`; on a terminal tqdm draws it, elsewhere a line every few seconds says where the work is."""

    EVERY = 5.0  # seconds

    def __init__(self, label: str, total: int, unit: str, done: int = 0):
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.last = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(
                total=total, initial=done, desc=label, unit=unit, unit_scale=True, dynamic_ncols=True, leave=False
            )

    def update(self, n: int = 1, note: str = "") -> None:
        self.done += n
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(n)
        elif time.monotonic() - self.last > self.EVERY:
            self.last = time.monotonic()
            share = f"{100 * self.done / self.total:.0f} %" if self.total else ""
            print(f"{self.label}: {share}{', ' + note if note else ''}", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
