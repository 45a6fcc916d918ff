"""All generated files: pages, leaderboard.csv, figures and the README's table. They are written or checked."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ann2snn.errors import UserError
from ann2snn.files import write_atomic
from ann2snn.leaderboard import inputs
from ann2snn.leaderboard.figures import accuracy, dashboard, methods, readme, style
from ann2snn.leaderboard.pages import energy, leaderboard, paper
from ann2snn.leaderboard.pages import methods as methods_page
from ann2snn.leaderboard.pages import readme as readme_table
from ann2snn.leaderboard.rows import Section, sections
from ann2snn.records.store import load_all

PAGES = (paper, methods_page, energy)  # beside LEADERBOARD.md
# The modules that draw figures, by the names of their files; {} is the section.
DRAWERS = {"{}": accuracy, "dashboard-{}": dashboard, "methods-{}": methods, "readme": readme}


def build(root: Path | str, readme_file: Path | str | None = None) -> list[Path]:
    """Writes all generated files below `root` that are stale, and removes figures without records.

    Args:
        root: The folder that holds `records/`.
        readme_file: A Markdown file whose table is written too.

    Returns:
        The files written or removed.

    Raises:
        UserError: There is no record below `root`.
    """
    root = Path(root)
    records = _records(root)
    texts = _stale_texts(_texts(root, records, readme_file))
    for path, text in texts.items():
        write_atomic(path, text)
    figures = list(_figures(root, records))
    stale = _stale_figures(figures)
    for figure in figures:
        if set(figure.paths.values()) & set(stale):
            for kind, data in style.render(figure.drawer, figure.section, figure.curves).items():
                write_atomic(figure.paths[kind], data)
    orphans = _orphans(root, figures)
    for path in orphans:
        path.unlink()
    return [*texts, *stale, *orphans]


def check(root: Path | str, readme_file: Path | str | None = None) -> list[Path]:
    """The files that `build` would write or remove.

    Texts are compared in full. A figure is compared by the hash of its data, since versions of matplotlib draw
    differently.
    """
    root = Path(root)
    records = _records(root)
    texts = _stale_texts(_texts(root, records, readme_file))
    figures = list(_figures(root, records))
    return [*texts, *_stale_figures(figures), *_orphans(root, figures)]


def build_pages(root: Path | str) -> list[Path]:
    """Writes the stale ones of `PAGES`, which need no record, and returns them."""
    texts = _stale_texts(_page_texts(Path(root)))
    for path, text in texts.items():
        write_atomic(path, text)
    return list(texts)


def check_pages(root: Path | str) -> list[Path]:
    """The pages that `build_pages` would write."""
    return list(_stale_texts(_page_texts(Path(root))))


def _records(root: Path) -> list[dict]:
    if records := load_all(root):
        return records  # type: ignore
    raise UserError(f"There is no finished record below {root / 'records'}: run a sweep first.")


def _texts(root: Path, records: list[dict], readme_file: Path | str | None) -> dict[Path, str]:
    texts = {
        root / "LEADERBOARD.md": leaderboard.markdown(records),
        root / "leaderboard.csv": leaderboard.csv_text(records),
    }
    texts |= _page_texts(root, records)
    if readme_file:
        texts[Path(readme_file)] = readme_table.with_table(readme_file, records)
    return texts


def _page_texts(root: Path, records: list[dict] | None = None) -> dict[Path, str]:
    """The pages that exist, or for which there are records."""
    known = inputs.read(root, records)
    return {root / page.NAME: page.page(known) for page in PAGES if (root / page.NAME).exists() or page.wanted(known)}


def _stale_texts(texts: dict[Path, str]) -> dict[Path, str]:
    return {path: text for path, text in texts.items() if not path.exists() or path.read_bytes() != text.encode()}


class _Figure(NamedTuple):
    drawer: ModuleType
    section: Section
    curves: list[dict]
    paths: dict[str, Path]  # by kind, "svg" and "png"


def _stale_figures(figures: list[_Figure]) -> list[Path]:
    stale = []
    for figure in figures:
        mark = style.stamp(figure.drawer, figure.section, figure.curves).encode()
        stale += [path for path in figure.paths.values() if not path.exists() or mark not in path.read_bytes()]
    return stale


def _figures(root: Path, records: list[dict]) -> Iterator[_Figure]:
    for section in sections(records):
        for name, drawer in DRAWERS.items():
            if curves := drawer.curves(section):
                file = name.format(leaderboard.figure_name(section))
                paths = {kind: root / "figures" / f"{file}.{kind}" for kind in ("svg", "png")}
                yield _Figure(drawer, section, curves, paths)


def _orphans(root: Path, figures: list[_Figure]) -> list[Path]:
    """Figures that no section has."""
    known = {path for figure in figures for path in figure.paths.values()}
    return sorted({*(root / "figures").glob("*.svg"), *(root / "figures").glob("*.png")} - known)
