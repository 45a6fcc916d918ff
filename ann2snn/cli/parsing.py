"""Building blocks of the argument parser: one-sentence errors, help with defaults, argument types."""

import argparse
import math
import re
from difflib import get_close_matches

from ann2snn.errors import UserError


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help in which every option shows its default."""

    def _get_help_string(self, action):
        text, default = action.help or "", action.default
        if not action.option_strings or default in (None, False, [], argparse.SUPPRESS) or "(default" in text:
            return text
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        return f"{text} (default: {shown})"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence; for an unknown name it suggests the nearest known ones."""

    def __init__(self, **settings):
        super().__init__(formatter_class=Formatter, **settings)

    def error(self, message: str):
        raise UserError(f"{message[0].upper()}{message[1:]}; `{self.prog} --help` lists the options.")

    def parse_known_args(self, args=None, namespace=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Rejects unknown arguments here, so that the message points to the help of the command."""
        options, rest = super().parse_known_args(args, namespace)
        if rest:
            wrong = next((text for text in rest if text.startswith("-")), rest[0])
            near = get_close_matches(wrong.partition("=")[0], self._option_string_actions, 3, 0.65)
            nearest = f"; the nearest are: {', '.join(near)}" if near else ""
            kind = "option" if wrong.startswith("-") else "argument"
            raise UserError(f"`{self.prog}` has no {kind} {wrong}{nearest}. `{self.prog} --help` lists the options.")
        return options, rest

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = get_close_matches(str(value), known, 3, 0.4) or known
            name = action.option_strings[-1] if action.option_strings else (action.dest or "command")
            raise UserError(f"There is no {name} {value!r}; the nearest are: {', '.join(near)}.")


def steps(text: str) -> int:
    """A number of time steps."""
    return _integer(text, 1, "a number of steps, an integer of 1 or more")


def images(text: str) -> int:
    """A number of images."""
    return _integer(text, 1, "a number of images, an integer of 1 or more")


def seed(text: str) -> int:
    """A random seed."""
    return _integer(text, 0, "a seed, an integer from 0 to 2^32 - 1", 2**32 - 1)


def count(text: str) -> int:
    """A positive integer."""
    return _integer(text, 1, "an integer of 1 or more")


def shard(text: str) -> tuple[int, int]:
    """`I/N` as (I, N)."""
    i, _, n = text.partition("/")
    if i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n):
        return int(i), int(n)
    raise argparse.ArgumentTypeError(f"{text} is not a shard I/N with I from 1 to N, such as 1/3, 2/3 and 3/3")


def devices(text: str) -> str:
    """A device, or several separated by commas."""
    if text == "auto" or all(re.fullmatch(r"cpu|cuda(:\d+)?", name) for name in text.split(",")):
        return text
    raise argparse.ArgumentTypeError(f"{text} is not auto, cpu, cuda, or several such as cuda:0,cuda:1")


def _integer(text: str, minimum: int, what: str, maximum: float = math.inf) -> int:
    try:
        value = int(text)
        if minimum <= value <= maximum:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not {what}")
