"""Long calibrations show how far they are, short ones say nothing."""

import contextlib
import math
import os
import termios
from types import SimpleNamespace

import pytest
from nets import one_thread, random, residual  # noqa: F401
from torch import randn

from ann2snn import convert, prepare, progress
from ann2snn.progress import ProgressBar, track

END = "\0"  # of what was written so far


class Terminal:
    """A terminal of 24 rows of 80 columns: `file` is written to, `rows()` is what it shows, from the top."""

    def __init__(self):
        self.master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.file, self.text = open(slave, "w"), ""  # noqa: SIM115

    def rows(self):
        self.file.write(END)
        self.file.flush()
        while not self.text.endswith(END):  # the kernel hands on what was written when it has time
            self.text += os.read(self.master, 100_000).decode()
        self.text = self.text.removesuffix(END)
        rows, row, column = {}, 0, 0
        for character in self.text.replace("\x1b[A", "\v"):
            if character in "\n\v":
                row += 1 if character == "\n" else -1
            elif character == "\r":
                column = 0
            else:
                rows[row] = rows.get(row, "")[:column].ljust(column) + character + rows.get(row, "")[column + 1 :]
                column += 1
        return [rows.get(k, "").rstrip() for k in range(max(rows, default=-1) + 1)]


@pytest.fixture
def terminal(monkeypatch):
    """Becomes stderr when it is called."""
    made = Terminal()
    yield lambda: monkeypatch.setattr("sys.stderr", made.file) or made
    made.file.close()
    os.close(made.master)


def seconds_of(items, clock, each):
    for item in items:
        clock.now += each
        yield item


@pytest.mark.parametrize(
    "each, total, lines",
    [
        (1.0, 4, []),
        (2.0, 4, ["work: 75 %"]),
        (3.0, 4, ["work: 50 %", "work: 100 %"]),
        (3.0, None, ["work: 2", "work: 4"]),
    ],
)
def test_a_line_every_five_seconds_where_there_is_no_terminal(capsys, monkeypatch, each, total, lines):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    assert list(track(seconds_of(range(4), clock, each), "work", total)) == [0, 1, 2, 3]
    assert capsys.readouterr() == ("", "".join(f"{line}\n" for line in lines))


def test_a_loop_with_a_length_needs_no_total(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    assert list(track("ab", "work")) == ["a", "b"]
    assert capsys.readouterr().err == "work: 50 %\nwork: 100 %\n"


def test_a_bar_of_eighty_columns_on_a_terminal(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    screen, loop = terminal(), track(range(4), "activation statistics")
    next(loop)
    (row,) = screen.rows()
    assert row.startswith("activation statistics   0%|") and row.endswith("| 00:00<?") and len(row) <= 80
    assert list(loop) == [1, 2, 3]
    assert screen.rows() == [""]


def test_a_short_loop_draws_nothing(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", math.inf)
    screen = terminal()
    assert list(track(range(4), "work")) == [0, 1, 2, 3]
    assert screen.rows() == []


def test_a_bar_within_a_sweep_is_below_the_bar_of_the_sweep(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    screen = terminal()
    with contextlib.closing(ProgressBar("[1/2] digits", 10)):
        loop = track(range(4), "layer 1 of 2")
        next(loop)
        label, sweep, layer = screen.rows()
        assert (label, sweep[:5], layer[:18]) == ("[1/2] digits", "  0%|", "layer 1 of 2   0%|")
        list(loop)
        assert screen.rows() == [label, sweep, ""]


@pytest.mark.parametrize(
    "method, options, line",
    [
        ("optimal", {}, "activation statistics: 1"),
        ("mmse", {}, "thresholds: 100 %"),
        ("snnc_lp", {}, "layer 3 of 3: 100 %"),
        ("snnc_ap", {"iterations": 2}, "a2: 100 %"),
        ("spike_norm", {"steps": 4}, "layer 3 of 3: 100 %"),
        ("ftbc", {"updates": 2}, "calibration: 100 %"),
        ("ltb", {"iterations": 2}, "calibration: 100 %"),
        ("da_qcfs", {"iterations": 2}, "calibration: 100 %"),
    ],
)
def test_every_calibration_shows_progress(capsys, monkeypatch, method, options, line):
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    images = randn(8, 2, 4, 4)
    convert(prepare(random(residual()), images), method, images, 4, **options)
    assert line in capsys.readouterr().err.splitlines()
