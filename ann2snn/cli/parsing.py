"""What the command line is made of: a parser whose errors are one sentence, help with defaults, types of arguments."""

import argparse
import math
import re
from difflib import get_close_matches

from ann2snn.errors import UserError


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Every option says its default."""

    def _get_help_string(self, action):
        text, default = action.help or "", action.default
        if not action.option_strings or default in (None, False, [], argparse.SUPPRESS) or "(default" in text:
            return text
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        return f"{text} (default: {shown})"


class Parser(argparse.ArgumentParser):
    """Errors are one sentence, and a wrong name is answered with the nearest right ones."""

    def __init__(self, **settings):
        super().__init__(formatter_class=Formatter, **settings)

    def error(self, message: str):
        raise UserError(f"{message[0].upper()}{message[1:]}; `{self.prog} --help` lists what there is.")

    def parse_known_args(self, args=None, namespace=None):
        """Of a command: what it does not know is an error here, which names the command's own help."""
        options, rest = super().parse_known_args(args, namespace)
        if rest:
            wrong = next((text for text in rest if text.startswith("-")), rest[0])
            near = get_close_matches(wrong.partition("=")[0], self._option_string_actions, 3, 0.65)
            nearest = f"; the nearest are: {', '.join(near)}" if near else ""
            kind = "option" if wrong.startswith("-") else "argument"
            raise UserError(f"`{self.prog}` has no {kind} {wrong}{nearest}. `{self.prog} --help` lists what there is.")
        return options, rest

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = get_close_matches(str(value), known, 3, 0.4) or known
            name = action.option_strings[-1] if action.option_strings else (action.dest or "command")
            raise UserError(f"There is no {name} {value!r}; the nearest are: {', '.join(near)}.")


def steps(text: str) -> int:
    return _whole(text, 1, "a number of steps, an integer of 1 or more")


def images(text: str) -> int:
    return _whole(text, 1, "a number of images, an integer of 1 or more")


def seed(text: str) -> int:
    return _whole(text, 0, "a seed, an integer from 0 to 2^32 - 1", 2**32 - 1)


def count(text: str) -> int:
    return _whole(text, 1, "an integer of 1 or more")


def shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n):
        return int(i), int(n)
    raise argparse.ArgumentTypeError(f"{text} is not a shard I/N with I from 1 to N, such as 1/3, 2/3 and 3/3")


def devices(text: str) -> str:
    if text == "auto" or all(re.fullmatch(r"cpu|cuda(:\d+)?", name) for name in text.split(",")):
        return text
    raise argparse.ArgumentTypeError(f"{text} is not auto, cpu, cuda, or several such as cuda:0,cuda:1")


def _whole(text: str, least: int, what: str, most: float = math.inf) -> int:
    try:
        if least <= (value := int(text)) <= most:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not {what}")
