"""Colours, line styles and rendering shared by the figures."""

import hashlib
import io
import json
from collections.abc import Iterable
from itertools import cycle
from types import ModuleType

from ann2snn.experiments.presets import CLASSIC_METHODS
from ann2snn.leaderboard.rows import Section

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito 2008
MORE_COLOURS = ("#882255", "#44AA99", "#999933", "#661100", "#6699CC", "#AA4499", "#DDCC77")  # muted, Tol 2021
STYLE = {"svg.hashsalt": "ann2snn", "svg.fonttype": "path", "font.size": 9, "text.parse_math": False}  # `$` is a `$`
GREY, DASHED = "#444444", (0, (5, 3))


def stamp(drawer: ModuleType, section: Section, drawn: list[dict]) -> str:
    """The hash of what is drawn; it stands in the metadata of the figure."""
    data = json.dumps([drawer.DRAWING, section.dataset, section.network, drawn], sort_keys=True)
    return "data sha256 " + hashlib.sha256(data.encode()).hexdigest()


def render(drawer: ModuleType, section: Section, drawn: list[dict]) -> dict[str, bytes]:
    """{"svg": ..., "png": ...}: the file of each kind. `drawn` are the drawer's curves of the section."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    files, description = {}, {"Description": stamp(drawer, section, drawn)}
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = drawer.draw(section, drawn)
        FigureCanvasAgg(figure)
        for kind, undated in (("svg", {"Date": None}), ("png", {})):
            out = io.BytesIO()
            figure.savefig(out, format=kind, dpi=120, metadata=description | undated)
            files[kind] = out.getvalue()
    return files


def colours_of(names: list[str]) -> dict[str, str]:
    """Colours of methods with their options, all different for up to fourteen names.

    Classic methods have the same colours in all figures.
    """
    own: dict[str, str] = dict(zip(CLASSIC_METHODS, COLOURS, strict=False))
    unused = [own[name] for name in own if name not in {label.split()[0] for label in names}]
    free = cycle([*COLOURS[len(CLASSIC_METHODS) :], *MORE_COLOURS, *unused])
    return {name: own.pop(name.split()[0], None) or next(free) for name in names}


def steps_axis(ax, grid: Iterable[int]) -> None:
    """T on a scale of powers of two, with a tick for each."""
    ticks = sorted(grid)
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [str(T) for T in ticks])
    ax.minorticks_off()
