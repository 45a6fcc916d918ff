"""The effect of one factor with all others equal, on the same test images: the findings of `results/METHODS.md`."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean

from tabulate import tabulate

from ann2snn.experiments.presets import OPTIMAL, QUANTISERS, START_POTENTIALS, TRAINED_ACTIVATIONS
from ann2snn.leaderboard.format import points
from ann2snn.leaderboard.pages.method_tables import (
    GRID,
    NOT_RUN,
    Table,
    against,
    differences,
    is_variant,
    same_source,
    variant_index,
)
from ann2snn.leaderboard.paired import Paired, ann_share, paired
from ann2snn.leaderboard.rows import REF_T, Row, sections
from ann2snn.methods.registry import discover
from ann2snn.training.recipes import RECIPES

EARLY = 4


@dataclass(frozen=True)
class Question:
    """The effect of one factor: `b` has it, `a` does not, and all else is equal."""

    title: str
    factor: str
    a: tuple[str, dict]
    b: tuple[str, dict]
    sources: tuple[str, ...] = ()  # activations of the sources of `b`, if they differ from that of `a`


SOFT = {"reset": "soft"}
QUESTIONS = (
    Question("Thresholds", "thresholds per channel of least squared error, instead of the layer's maximum",
             OPTIMAL, ("mmse", {"error": "round"})),
    Question("Shift", "V/(2T) at every step", ("max_norm", SOFT), OPTIMAL),
    Question("Start potential", "membranes that start at V/2, instead of 0",
             ("max_norm", SOFT), ("opi", SOFT)),
    Question("Bias per step", "FTBC's bias per channel and step, on thresholds of least floor error",
             ("mmse", {"error": "floor"}), ("ftbc", {})),
    Question("Trained quantiser", "a QCFS source and its thresholds, instead of a ReLU source and its maxima",
             ("opi", SOFT), ("qcfs", {}), TRAINED_ACTIVATIONS[:2]),
    Question("Trained clipping", "a TCL source and its thresholds, instead of a ReLU source and its maxima",
             ("max_norm", SOFT), ("tcl", {}), ("tcl",)),
    Question("Accumulate-then-fire", "neurons that accumulate all input before they fire, instead of at once",
             ("opi", SOFT), ("accumulate_then_fire", {"per_channel": False})),
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A comparison with another protocol: the rows of one source, and the row of its table."""

    table: Table
    base: Row
    row: Row
    pairs: dict[int | None, Paired]  # at T = 16
    early: dict[int | None, Paired]  # at T = 4, where both were run

    def text(self) -> str:
        parts = ((T, list(at.values())) for T, at in ((REF_T, self.pairs), (EARLY, self.early)) if at)
        text = f"on {self.table.name} " + " and ".join(f"{differences(pairs)} at T = {T}" for T, pairs in parts)
        if not same_source(self.base.records[0]["job"], self.table):
            text += f" (the ANNs themselves differ by {self.ann_gap:+.2f})"
        return text + (f", for a latency of {self.latency} steps instead of {REF_T}" if self.latency > REF_T else "")

    @property
    def latency(self) -> int:
        return self.row.one(REF_T, "latency") or REF_T

    @property
    def ann_gap(self) -> float:
        """Mean difference of the source networks themselves, in points, over the compared seeds."""
        a, b = ({r["job"]["seed"]: ann_share(r) for r in row.records} for row in (self.base, self.row))
        return mean(100 * (b[seed] - a[seed]) for seed in self.pairs)

    @property
    def size(self) -> float:
        """The largest mean difference."""
        sides = [list(at.values()) for at in (self.pairs, self.early) if at]
        return max(abs(mean(pair.difference for pair in pairs)) for pairs in sides)

    @property
    def surprises(self) -> bool:
        """Whether it lowers the accuracy of every source by more than the sampling of the images explains."""
        return all(pair.difference + pair.margin < 0 for pair in self.pairs.values())


def answers(question: Question, found: list[Table]) -> Iterator[Answer]:
    """The answers on all kinds of sources with both rows; largest test sets first, ReLU before other activations.

    Sources with trained thresholds are used only for the questions about them: elsewhere methods differ in whether they
    use these thresholds.
    """
    for table in sorted(found, key=lambda t: (-t.rows[0].n_test, t.activation != "relu", t.name)):
        if not question.sources and table.activation in TRAINED_ACTIVATIONS:
            continue
        row, base = table.row(*question.b), table.row(*question.a)
        if question.sources:
            if table.activation not in question.sources:
                continue
            relu = _relu_source(table.rows[0].records[0]["job"])
            other = next((t for t in found if same_source(relu, t)), None)
            base = other and other.row(*question.a)
        if row and base and (pairs := against(row, base)):
            yield Answer(table, base, row, pairs, against(row, base, EARLY))


def _relu_source(job: dict) -> dict:
    """The job on the ReLU source of the same recipe, or on the one that the training of the source started from."""
    plan = next((recipe for recipe in RECIPES.values() if recipe.key == job["recipe"]), None)
    start = plan and plan.start
    begun = RECIPES[start.recipe].key if start and start.activation == "relu" else job["recipe"]
    return job | {"activation": "relu", "recipe": begun}


FINDINGS = """\
Differences of the test accuracy in points, one per training seed; for a single source with ± (95 %, due to the sampling
of the test images). The sentences are for the largest test set with both rows; below are all sources.
"""


def findings(found: list[Table]) -> str:
    """One sentence per question. Factors that lower the accuracy come first, then the largest effects."""
    lines = []
    for question in QUESTIONS:
        if all_ := list(answers(question, found)):
            largest = [x for x in all_ if x.table.rows[0].n_test == all_[0].table.rows[0].n_test]
            what = f"{question.factor}; `{largest[0].row.job.label}` - `{largest[0].base.job.label}`"
            text = f"- **{question.title}** ({what}): {'; '.join(answer.text() for answer in largest)}."
            lines.append((not largest[0].surprises, -largest[0].size, text))
        else:
            lines.append((True, 1.0, f"- **{question.title}** ({question.factor}): {NOT_RUN}."))
    return "\n".join(text for *_, text in sorted(lines))


def on_every_source(found: list[Table]) -> str:
    """The answers to all questions, with a line per kind of source."""
    lines = []
    for question in QUESTIONS:
        for answer in answers(question, found):
            cells = [differences(list(at.values())) if at else "-" for at in (answer.early, answer.pairs)]
            waits = str(answer.latency) if answer.latency > REF_T else ""
            gap = "" if same_source(answer.base.records[0]["job"], answer.table) else f"{answer.ann_gap:+.2f}"
            lines.append([question.title.lower(), answer.table.name, *cells,
                          waits, gap])  # fmt: skip
    headers = ["factor", "source", f"T = {EARLY}", f"T = {REF_T}", f"latency, T = {REF_T}", "difference of the ANNs"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def chosen_on_test(found: list[Table], records: list[dict]) -> str:
    """The gain of choosing FTBC's number of updates by test accuracy, as its script does."""
    lines = []
    for table in found:
        runs: dict[int, float] = {}
        for r in records:
            job = r["job"]
            row, first = Row([r], {}), job["calibration_seed"] == 0 and job["seed"] in (0, None)
            usual = row.is_default_protocol and is_variant(row, "ftbc", {"updates": job["options"].get("updates")})
            if first and usual and same_source(job, table) and str(REF_T) in r["T"]:
                test = r["T"][str(REF_T)]["test"]
                runs[job["options"]["updates"]] = 100 * test["correct"] / test["n"]
        if len(runs) > 1:
            usual = discover()["ftbc"].options["updates"]
            best = max(runs, key=lambda k: runs[k])
            own = f", {runs[best] - runs[usual]:.2f} points above that of its {usual}" if usual in runs else ""
            lines.append(f"- {table.name}: the best of {len(runs)} has {best} updates and {runs[best]:.2f} %{own}.")
    return "\n".join(lines) or NOT_RUN.capitalize() + "."


def quantisers(records: list[dict]) -> str:
    """The quantisers of QCFS sources (floor, round, ceil) against start potentials (0, V/2, V)."""
    lines = []
    for section in sections(records):
        rows = [
            r
            for r in section.rows
            if r.job.activation in QUANTISERS and any(is_variant(r, *start) for start in START_POTENTIALS)
        ]
        kinds = {row.job.activation for row in rows}
        if kinds >= set(QUANTISERS):
            for row in sorted(rows, key=lambda r: (QUANTISERS.index(r.job.activation), r.job.options["start"])):
                rounding = row.job.activation.split(":")[2:] or ["round"]
                source = [f"{section.dataset}, {section.network}", rounding[0], str(row.n), points(row.ann, row.n)]
                start = {0.0: "0", 0.5: "V/2", 1.0: "V"}[row.job.options["start"]]
                lines.append([*source, start, *(points(row.accuracy(T), row.n) for T in GRID)])
    headers = ["source", "quantiser", "n", "ANN", "start", *(f"T = {T}" for T in GRID)]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True) if lines else NOT_RUN.capitalize() + "."


def other_calibrations(found: list[Table], records: list[dict]) -> str:
    """The same jobs with other calibration images or seeds, beside the table's row of the same source."""
    lines = []
    for table in found:
        for r in records:
            job = r["job"]
            usual = (job["calibration"], job["calibration_seed"]) == (1024, 0)
            if usual or not same_source(job, table) or str(REF_T) not in r["T"]:
                continue
            if variant_index(own := Row([r], {})) is None:
                continue
            row = table.row(job["method"], job["options"])
            same = [b for b in row.records if b["job"]["seed"] == job["seed"] and str(REF_T) in b["T"]] if row else []
            share = 100 * r["T"][str(REF_T)]["test"]["correct"] / r["T"][str(REF_T)]["test"]["n"]
            lines.append([table.name, own.job.label, f"{job['calibration']:,}", job["calibration_seed"], f"{share:.2f}",
                          paired(same[0], r, REF_T).interval if same else NOT_RUN])  # fmt: skip
    headers = ["source", "method", "calibration images", "seed", f"T = {REF_T}", "against 1,024 images, seed 0"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True) if lines else NOT_RUN.capitalize() + "."
