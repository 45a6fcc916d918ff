"""`ann2snn list`: methods, datasets, networks and recipes by name, with a line each."""

import inspect
import re
from textwrap import shorten

from tabulate import tabulate

from ann2snn.data.catalog import DATASETS
from ann2snn.data.registry import names
from ann2snn.methods.registry import discover
from ann2snn.networks.registry import network_functions
from ann2snn.training.recipes import RECIPES

WIDTH = 80


def text(what: str) -> str:
    """The table of `what` ("methods", "datasets", "networks" or "recipes"), 80 columns wide."""
    return {"methods": methods, "datasets": datasets, "networks": networks, "recipes": recipes}[what]()


def methods() -> str:
    """All methods, a line each."""
    found = sorted(discover().values(), key=lambda method: method.name)
    for_one = {m.name: f", for {m.required_activation} sources" if m.required_activation else "" for m in found}
    return _lines([(m.name, f"{m.paper}{for_one[m.name]}: {first_sentence(m.function)}") for m in found])


def datasets() -> str:
    """All datasets, a line each."""
    rows = []
    for name in names():
        info = DATASETS.get(name)
        rows.append([name, *([info.classes, _size(info.shape), *info.images] if info else ["-"] * 5)])
    return _table(rows, ["dataset", "classes", "image", "training", "validation", "test"])


def networks() -> str:
    """All networks, a line each."""
    lines = [(name, first_sentence(function)) for name, function in network_functions().items()]
    return f"{_lines(lines)}\n\nAll timm networks are available by their timm name."


def recipes() -> str:
    """All recipes, a line each."""
    rows = []
    for recipe in RECIPES.values():
        start = recipe.start.recipe if recipe.start else "-"
        rows.append([recipe.name, recipe.epochs, recipe.batch_size, f"{recipe.lr:g}", recipe.schedule,
                     recipe.augmentation or "-", start])  # fmt: skip
    return _table(rows, ["recipe", "epochs", "batch", "lr", "schedule", "augmentation", "start"])


def first_sentence(function) -> str:
    """The first sentence of a docstring, without its full stop."""
    paragraph = " ".join(inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].split())
    return re.split(r"(?<!et al)\. (?=[A-Z`])", paragraph)[0].rstrip(".:")


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def _table(rows: list[list], headers: list[str]) -> str:
    return tabulate(rows, headers, disable_numparse=True)


def _lines(pairs: list[tuple[str, str]]) -> str:
    """One line per (name, text), shortened to the width."""
    width = max(len(name) for name, _ in pairs) + 2
    return "\n".join(f"{name:{width}}{shorten(text, WIDTH - width, placeholder=' ...')}" for name, text in pairs)
