"""The pages beside the leaderboard: the paper's tables, every method on the same networks, and energy."""

from pathlib import Path

from ann2snn.files import write_atomic
from ann2snn.leaderboard import inputs
from ann2snn.leaderboard.pages import energy, methods, paper


def build(root: Path | str) -> list[Path]:
    """Writes the pages below `root`; returns what was stale, and so was written."""
    stale = _stale(root)
    for path, text in stale.items():
        write_atomic(path, text)
    return list(stale)


def check(root: Path | str) -> list[Path]:
    """The pages that are not what `build` would write."""
    return list(_stale(root))


def _stale(root: Path | str) -> dict[Path, str]:
    known, stale = inputs.read(root), {}
    for page in (paper, methods, energy):
        path = Path(root) / page.NAME
        if path.exists() or page.wanted(known):
            text = page.page(known)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale[path] = text
    return stale
