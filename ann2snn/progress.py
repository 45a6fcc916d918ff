"""A progress bar on a terminal, plain lines elsewhere."""

import sys
import time


class Bar:
    """Counts to `total`; on a terminal tqdm draws it, elsewhere a line every few seconds says where the work is."""

    EVERY = 5.0  # seconds

    def __init__(self, label: str, total: int, done: int = 0):
        self.label, self.total, self.done = label, total, done
        self.last, self.said, self.bar = time.monotonic(), "", None
        if sys.stderr.isatty():
            from tqdm import tqdm

            form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self.bar = tqdm(total=total, initial=done, desc=label, bar_format=form, dynamic_ncols=True, leave=False)

    def update(self, n: int = 1, note: str = "") -> None:
        self.done += n
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(n)
        elif time.monotonic() - self.last > self.EVERY:
            self.last = time.monotonic()
            line = f"{self.label}: {100 * self.done / max(self.total, 1):.0f} %{', ' + note if note else ''}"
            if line != self.said:
                print(line, file=sys.stderr, flush=True)
            self.said = line

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
