"""Hashes of method files that comments, docstrings, formatting and imports do not change."""

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

PREFIX = "ast:"  # records of older versions hold the SHA-256 of a single file instead, without a prefix


def source_hash(file: str | Path) -> str:
    """Hash of the code of a method file and of all method files that it imports, directly or indirectly.

    Method files are those of `baselines/` and, for a plug-in, the files beside it. The hash covers their syntax trees
    without docstrings, comments and import statements. It changes with every other edit, and with an edit of a method
    file that is imported. It stays the same where a name is imported from another module of the suite, and it is the
    same under Python 3.11 and 3.12.

    Args:
        file: Path of the method file. A method without a file, such as one typed into a console, has the hash of an
            empty file.

    Returns:
        `ast:` and a SHA-256 in hexadecimal digits.
    """
    trees: dict[Path, str] = {}
    pending = [Path(file)]
    while pending:
        path = pending.pop().resolve()
        if path not in trees:
            trees[path], imports = _parse(path.read_bytes() if path.is_file() else b"")
            pending += _method_files(imports, path.parent)
    main, *imported = trees.values()
    return PREFIX + hashlib.sha256("\n".join([main, *sorted(imported)]).encode()).hexdigest()


def is_comparable(recorded: str | None) -> bool:
    """Whether a hash in a record is of the kind that `source_hash` returns."""
    return recorded is not None and recorded.startswith(PREFIX)


@functools.lru_cache(maxsize=256)
def _parse(content: bytes) -> tuple[str, tuple[tuple[int, str], ...]]:
    """The stripped syntax tree as text, and the imported modules as pairs of a relative level and a dotted name."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # edited since it was imported
        return content.decode(errors="replace"), ()
    return json.dumps(_strip(tree)), tuple(_imports(tree))


def _strip(node):
    """A syntax tree as nested lists, without positions and empty fields, which differ between Python versions."""
    if isinstance(node, ast.AST):
        fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            fields["body"] = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty parts
            fields["values"] = [part for part in node.values if getattr(part, "value", None) != ""]
        return [type(node).__name__, {name: _strip(value) for name, value in fields.items()}]
    if isinstance(node, list):
        return [_strip(item) for item in node if not isinstance(item, ast.Import | ast.ImportFrom)]
    return repr(node)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield node.level, module
            yield from ((node.level, f"{module}.{alias.name}".strip(".")) for alias in node.names)


def _method_files(imports: tuple[tuple[int, str], ...], folder: Path) -> list[Path]:
    """Those of the imported modules that are method files; `folder` is that of the importing file."""
    baselines = importlib.util.find_spec("ann2snn.baselines")
    assert baselines and baselines.submodule_search_locations
    files = []
    for level, name in imports:
        root = folder if level < 2 else folder.parents[level - 2]
        if level == 0 and name.startswith("ann2snn.baselines."):
            root, name = Path(baselines.submodule_search_locations[0]), name.removeprefix("ann2snn.baselines.")
        elif level == 0 and name.partition(".")[0] == "ann2snn":
            continue
        files.append(root.joinpath(*name.split(".")).with_suffix(".py"))
    return [file for file in files if file.is_file()]
