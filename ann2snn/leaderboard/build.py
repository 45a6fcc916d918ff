"""Builds LEADERBOARD.md, leaderboard.csv and the figures from the records, or checks that they are fresh."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ann2snn.errors import UserError
from ann2snn.files import write_atomic
from ann2snn.leaderboard.figures import accuracy, dashboard, methods, style
from ann2snn.leaderboard.pages import leaderboard
from ann2snn.leaderboard.rows import Section, sections
from ann2snn.records.store import load_all

DRAWN = {"": accuracy, "dashboard-": dashboard, "methods-": methods}  # how the names of their figures begin


def build(root: Path | str) -> list[Path]:
    """Write LEADERBOARD.md, leaderboard.csv and figures/ from `root/records`; figures of what is no longer there go.

    Files that are fresh already are left as they are. Returns the files written or removed.
    """
    root, records = Path(root), _records(root)
    texts = _texts(root, records)
    stale = _stale(root, records, texts)
    for path in stale:
        if path in texts:
            write_atomic(path, texts[path])
    for drawer, section, drawn, paths in _figures(root, records):
        if set(paths.values()) & set(stale):
            for kind, data in style.render(drawer, section, drawn).items():
                write_atomic(paths[kind], data)
    for path in _orphans(root, records):
        path.unlink()
    return stale


def check(root: Path | str) -> list[Path]:
    """The files that differ from what `build` would write, are missing, or should not be there.

    Texts are compared whole; a figure by the hash of its data, as each version of matplotlib draws it differently.
    """
    root, records = Path(root), _records(root)
    return _stale(root, records, _texts(root, records))


def _records(root: Path | str) -> list[dict]:
    if records := load_all(root):
        return records
    raise UserError(f"There is no finished record below {Path(root) / 'records'}: run a sweep first.")


def _texts(root: Path, records: list[dict]) -> dict[Path, str]:
    return {
        root / "LEADERBOARD.md": leaderboard.markdown(records),
        root / "leaderboard.csv": leaderboard.csv_text(records),
    }


def _stale(root: Path, records: list[dict], texts: dict[Path, str]) -> list[Path]:
    stale = [path for path, text in texts.items() if not path.exists() or path.read_bytes() != text.encode()]
    for drawer, section, drawn, paths in _figures(root, records):
        mark = style.stamp(drawer, section, drawn).encode()
        stale += [p for p in paths.values() if not p.exists() or mark not in p.read_bytes()]
    return stale + _orphans(root, records)


def _figures(root: Path, records: list[dict]) -> Iterator[tuple[ModuleType, Section, list[dict], dict[str, Path]]]:
    """What draws a figure, of what section, its curves, and where it goes by kind."""
    for section in sections(records):
        for begin, drawer in DRAWN.items():
            if not (drawn := drawer.curves(section)):
                continue
            name = begin + leaderboard.figure_name(section)
            yield drawer, section, drawn, {kind: root / "figures" / f"{name}.{kind}" for kind in ("svg", "png")}


def _orphans(root: Path, records: list[dict]) -> list[Path]:
    """Figures that no section has."""
    known = {path for *_, paths in _figures(root, records) for path in paths.values()}
    return sorted({*(root / "figures").glob("*.svg"), *(root / "figures").glob("*.png")} - known)
