"""Names of records as text in Markdown, whatever they hold."""

import html
from collections.abc import Iterable


def escaped(records: Iterable[dict]) -> list[dict]:
    """The records with names of their jobs that Markdown and HTML show as text: `|`, `<`, backticks, line breaks.

    Records whose names hold no markup are the same afterwards.
    """
    return [record | {"job": _escaped(record["job"])} for record in records]


def _escaped(value):
    if isinstance(value, dict):
        return {_escaped(name): _escaped(entry) for name, entry in value.items()}
    if not isinstance(value, str):
        return value
    text = html.escape(" ".join(value.split("\n")), quote=False)
    for mark in "|`[]*":
        text = text.replace(mark, f"&#{ord(mark)};")
    return text
