"""Cells and sources that several tables of `results/PAPER.md` share."""

from collections.abc import Iterator

from tabulate import tabulate

from ann2snn.experiments.presets import DENG_NETWORKS
from ann2snn.leaderboard.inputs import PageInputs, recipe_of
from ann2snn.leaderboard.published import Published
from ann2snn.leaderboard.rows import Row

OWN, RERUN = "own", "re-run of the released checkpoints by wu2024ftbc"
GRID = (16, 32, 64, 128)
UNKNOWN, NOT_RUN = "not known", "not run"
PAPERS = "paper's SNN (second hand)"
STAR = "\\* doubtful, or there are two reports: see the remark in published.csv."


def markdown(lines: list[list], headers: list[str], note: str = "") -> str:
    """A Markdown table, or a sentence that nothing was run, with a note below it."""
    text = tabulate(lines, headers, tablefmt="github", disable_numparse=True) if lines else f"{NOT_RUN.capitalize()}."
    return f"{text}\n" + (f"\n{note}\n" if note else "")


def percent(value: float | None, absent: str = UNKNOWN) -> str:
    """A percentage with two decimals."""
    return absent if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """A difference with its sign and two decimals."""
    return "-" if value is None else f"{value:+.2f}"


def cited(number: Published | None) -> str:
    """A published accuracy; with a star where published.csv has a remark."""
    return UNKNOWN if number is None else f"{number.accuracy:.2f}" + ("*" if number.remark else "")


def places(inputs: PageInputs) -> Iterator[tuple[str, str, str]]:
    """(dataset, network, recipe) of the paper's networks, and of every other source that has records."""
    cifar = [r["job"] for r in inputs.records if r["job"]["dataset"] in ("cifar10", "cifar100")]
    have = {(job["dataset"], job["network"], recipe_of(job["recipe"])) for job in cifar}
    default = [(dataset, network, "bn_free") for dataset in ("cifar10", "cifar100") for network in DENG_NETWORKS]
    yield from default
    yield from sorted(have - set(default))


def seed_0(row: Row | None) -> dict | None:
    """The record of training seed 0."""
    return next((r for r in row.records if r["job"]["seed"] == 0), None) if row else None
