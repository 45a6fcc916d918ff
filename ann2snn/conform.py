"""Checks JSON values against a schema."""

import math
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

ANY = "*"  # as a key of a schema: all keys
MAX_INTEGER = 2**63 - 1


def conform(value, schema, where: str, later=None) -> None:
    """Raises a ValueError unless `value` has the keys and types of `schema`.

    Args:
        value: Anything that JSON can hold.
        schema: A type, a tuple of types, [the type of every element], or {key: schema}, where the key `ANY` stands for
            all keys. Further keys of `value` are allowed. Numbers must be finite and not negative.
        where: Name of `value` in the error message.
        later: {key: schema} of optional keys.
    """
    if isinstance(schema, dict):
        if type(value) is not dict:
            raise ValueError(f"{where} is not a mapping")
        later = later or {}
        for key in value if ANY in schema else schema:
            if key not in value:
                raise ValueError(f"{where} has no {key!r}")
            conform(value[key], schema.get(key, schema.get(ANY)), f"{where}[{key!r}]", later.get(key, later.get(ANY)))
        for key in (later.keys() & value.keys()) - schema.keys():
            conform(value[key], later[key], f"{where}[{key!r}]")
    elif isinstance(schema, list):
        if type(value) is not list:
            raise ValueError(f"{where} is not a list")
        for i, element in enumerate(value):
            conform(element, schema[0], f"{where}[{i}]")
    else:
        allowed = schema if isinstance(schema, tuple) else (schema,)
        names = " or ".join(t.__name__ for t in allowed)
        if float in allowed:
            allowed += (int,)
        if type(value) not in allowed:
            raise ValueError(f"{where} is {short_repr(value)}, not of type {names}")
        if (type(value) is int and not 0 <= value <= MAX_INTEGER) or (
            type(value) is float and not 0 <= value < math.inf
        ):
            raise ValueError(f"{where} is {short_repr(value)}")


def check_names(names: dict[str, str]) -> None:
    """Raises a ValueError for a name that cannot be a component of a path: an empty one, `.` or `..`."""
    for what, name in names.items():
        if name in ("", ".", ".."):
            raise ValueError(f"its {what} is {name!r}")


def short_repr(value) -> str:
    """The repr of a value, truncated to 40 characters."""
    if type(value) is int and abs(value) > MAX_INTEGER:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def schema_of(kind) -> tuple[Any, dict]:
    """The schema of a type, and of those of its keys that may be absent, as `conform` takes them.

    Args:
        kind: A `TypedDict`, `dict[str, X]`, `list[X]`, or a plain type or union of such, where None stands for null.
    """
    if is_typeddict(kind):
        fields = {name: schema_of(hint) for name, hint in get_type_hints(kind).items()}
        schema = {name: fields[name][0] for name in fields if name in kind.__required_keys__}
        optional = {name: later if name in schema else whole for name, (whole, later) in fields.items()}
        return schema, {name: value for name, value in optional.items() if value != {}}
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        schema, optional = schema_of(arguments[1])
        return {ANY: schema}, {ANY: optional} if optional else {}
    if get_origin(kind) is list:
        return [schema_of(arguments[0])[0]], {}
    return arguments or kind, {}
