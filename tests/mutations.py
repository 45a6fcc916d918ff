"""Damage to files, drawn at random from a seed."""

import copy
import json

HUGE = 10**399
VALUES = (
    None,
    True,
    "",
    "x",
    "\ud800",
    -1,
    0,
    1,
    3.5,
    -0.5,
    2**63,
    HUGE,
    float("nan"),
    float("inf"),
    [],
    {},
    [1],
    {"a": 1},
)
DEEP = 5000


def places(value, at=()):
    """Where something is in nested dictionaries and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, below in pairs:
        yield (*at, key)
        yield from places(below, (*at, key))


def damaged_value(value, rng):
    """A copy of nested dictionaries and lists with one key removed, renamed or of another value."""
    value = copy.deepcopy(value)
    *way, last = rng.choice(list(places(value)))
    inside = value
    for key in way:
        inside = inside[key]
    if isinstance(inside, tuple):
        return value
    how = rng.randrange(5)
    if how == 0:
        del inside[last]
    elif how == 1 and isinstance(inside, dict):
        inside[f"{last}2"] = inside.pop(last)
    elif how == 2 and isinstance(inside[last], int | float) and not isinstance(inside[last], bool):
        inside[last] = rng.choice((-inside[last], inside[last] * 1000 + 1, inside[last] + 0.5, HUGE))
    elif how == 3 and isinstance(inside[last], str | list | tuple):
        inside[last] = rng.choice((inside[last][:-1], inside[last] * 2, inside[last][:1]))
    else:
        inside[last] = rng.choice(VALUES)
    return value


def damaged_text(text, rng):
    """Bytes: the text cut, with flipped bits, nested too deeply, with an endless number, or not UTF-8."""
    content = bytearray(text.encode())
    how, i = rng.randrange(5), rng.randrange(len(content))
    if how == 0:
        return bytes(content[:i])
    if how == 1:
        for _ in range(rng.choice((1, 1, 3))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(content)
    if how == 2:
        bracket = rng.choice(("[", '{"a":'))
        return text.replace("1", bracket * DEEP + "1", 1).encode()
    if how == 3:
        return text.replace("1", "1" * DEEP, 1).encode()
    return bytes(content[:i]) + b"\xff\xfe" + bytes(content[i:])


def damaged_json(value, rng):
    """Bytes of a JSON file."""
    if rng.random() < 0.3:
        return damaged_text(json.dumps(value), rng)
    for _ in range(rng.choice((1, 1, 2))):
        value = damaged_value(value, rng)
    return json.dumps(value).encode()
