"""What the pages are generated from: records, diagnoses, photographs and published numbers."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ann2snn.experiments import diagnosis
from ann2snn.leaderboard import photographs
from ann2snn.leaderboard.format import escaped
from ann2snn.leaderboard.published import Published, find, load
from ann2snn.leaderboard.rows import DEFAULT_PROTOCOL, Row, sections
from ann2snn.records.job import recipe_name
from ann2snn.records.store import load_all
from ann2snn.training import recipes

RESULTS = Path("results")  # of a checkout: the committed records and pages


@dataclass(frozen=True)
class PageInputs:
    """All that a table may draw on."""

    records: list[dict]
    published: list[Published] = field(default_factory=list)
    diagnoses: list[dict] = field(default_factory=list)
    photographs: str = ""  # the table of `photographs`

    @cached_property
    def all_rows(self) -> list[Row]:
        return [row for section in sections(self.records) for row in section.rows]

    def rows(self, **wanted) -> list[Row]:
        """Rows of the leaderboard whose job has these fields.

        The calibration is the default one unless it is given. `recipe` is a name, and `options` a part of the options.
        """
        wanted = {name: DEFAULT_PROTOCOL[name] for name in ("calibration", "calibration_transform")} | wanted
        return [row for row in self.all_rows if _fits(row, wanted)]

    def row(self, method: str, options: dict, **wanted) -> Row | None:
        """The one row of this kind, with most training seeds where data differ."""
        return max(self.rows(method=method, options=options, **wanted), key=lambda row: row.n, default=None)

    def number(self, dataset: str, network: str, pipeline: str, T: int | None) -> Published | None:
        """A published number of the paper's method."""
        same = {"paper": "deng2021", "method": "optimal", "pipeline": pipeline, "dataset": dataset, "network": network}
        return next(iter(find(self.published, T=T, **same)), None)


def read(root: Path | str, records: list[dict] | None = None) -> PageInputs:
    """What `root` holds, and the published numbers: its own, else those of the checkout.

    Args:
        root: The folder that holds `records/`.
        records: Its records, if they were loaded already.
    """
    found: Any = load_all(root) if records is None else records
    files = [folder / "published.csv" for folder in (Path(root), RESULTS)]
    published = next((load(path) for path in files if path.exists()), [])
    return PageInputs(escaped(found), published, diagnosis.load_all(root), photographs.table(root))


def _fits(row: Row, wanted: dict) -> bool:
    for name, value in wanted.items():
        have = recipe_of(row.job.recipe) if name == "recipe" else getattr(row.job, name)
        if name == "options":
            have = {key: row.job.options.get(key) for key in value}
        if have != value:
            return False
    return True


def recipe_of(key: str) -> str:
    """The name of a recipe; the whole key where today's recipe of that name is another one."""
    today = recipes.RECIPES.get(name := recipe_name(key))
    return key if today and today.key != key else name
