"""The values that a method's options take, read from the annotations of its signature."""

import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Union

from ann2snn.errors import UserError


class Where(NamedTuple):
    """A condition on a value, in words and as a test: `Annotated[int, Where("a whole number of 2 or more", ...)]`."""

    words: str
    holds: Callable[[Any], bool]


Count = Annotated[int, Where("a whole number of 1 or more", lambda n: n >= 1)]
Positive = Annotated[float, Where("a number above 0", lambda x: x > 0)]
Quantile = Annotated[float, Where("a number in (0, 1]", lambda q: 0 < q <= 1)]


def annotations(function: Callable) -> dict[str, Any]:
    """Of the parameters of a method; {} where a plug-in's annotations have names that only a type checker knows."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # whatever the annotations evaluate to
        return {}


def checked(what: str, value: Any, default: Any, annotation: Any = None) -> Any:
    """The value of an option; a whole number as a float where the option is one, as 1 and 1.0 are one job.

    Args:
        what: What is checked, as it begins the sentence of an error.
        value: The value.
        default: Its default, whose type is the option's where there is no annotation.
        annotation: `Literal["a", "b"]` for choices, a type with a `Where` such as `Count`, either `| None`, or another
            type; others than these are left unchecked.

    Raises:
        UserError: The value is of another type, none of the choices, or a number that is negative or not finite.
    """
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if value is None and type(None) in parts:
        return None
    (annotation, *others) = [part for part in parts if part is not type(None)]
    if others:
        return value
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise UserError(f"{what} is {' or '.join(map(repr, choices))}, not {value!r}.")
        return value
    kind, *conditions = typing.get_args(annotation) if typing.get_origin(annotation) is Annotated else (annotation,)
    kind = kind if kind in (bool, int, float, str) else type(default)
    where = next((x for x in conditions if isinstance(x, Where)), None)
    words = where.words if where else KINDS.get(kind)
    if words is None:
        return value
    if not _is(kind, value) or (where and not where.holds(value)):
        example = f", such as {default!r}" if default is not None and kind is not bool else ""
        raise UserError(f"{what} is {words}{example}, not {value!r}.")
    return float(typing.cast(float, value)) if kind is float else value


KINDS = {
    bool: "True or False",
    int: "a whole number of 0 or more",
    float: "a number of 0 or more",
    str: "a text",
}


def _is(kind: type, value) -> bool:
    if kind in (bool, str):
        return isinstance(value, kind)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return (whole or kind is float and isinstance(value, float)) and 0 <= value <= sys.float_info.max
