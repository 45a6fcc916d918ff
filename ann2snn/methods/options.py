"""Values that the options of a method take, as declared by the annotations of its signature."""

import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Union

from ann2snn.errors import UserError


class Where(NamedTuple):
    """A condition on a value, in words and as a test: `Annotated[int, Where("an integer of 2 or more", ...)]`."""

    words: str
    holds: Callable[[Any], bool]


Count = Annotated[int, Where("a whole number of 1 or more", lambda n: n >= 1)]
Positive = Annotated[float, Where("a number above 0", lambda x: x > 0)]
Quantile = Annotated[float, Where("a number in (0, 1]", lambda q: 0 < q <= 1)]


def annotations(function: Callable) -> dict[str, Any]:
    """Annotations of the parameters of a method; {} if they contain names that only a type checker can resolve."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # annotations of a plug-in can raise anything
        return {}


def checked(what: str, value: Any, default: Any, annotation: Any = None) -> Any:
    """Check the value of an option.

    Args:
        what: Subject of the error message.
        value: The value.
        default: The default of the option, which gives its type if there is no annotation.
        annotation: `Literal["a", "b"]` for choices, a type with a `Where` such as `Count`, either of them with
            `| None`, or a plain type. Values with other annotations are not checked.

    Returns:
        The value, as a float if the option is one: 1 and 1.0 are the same job.

    Raises:
        UserError: The value has another type, is none of the choices, or is a negative or infinite number.
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
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return (is_integer or (kind is float and isinstance(value, float))) and 0 <= value <= sys.float_info.max
