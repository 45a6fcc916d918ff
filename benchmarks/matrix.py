"""Every method on the same source networks, steps and simulator: `results/METHODS.md`.

The page is a function of the records and the published numbers. It starts with findings: what one factor changes, all
others equal, measured on the same test images.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean

from tabulate import tabulate

from ann2snn.benchmarks.paper import Known  # type: ignore
from ann2snn.benchmarks.profiles import QUANTISERS, STARTS, TRAINED, VARIANTS  # type: ignore
from ann2snn.comparison import Paired, ann_share, paired
from ann2snn.conversion import discover
from ann2snn.leaderboard.methods import curves, label
from ann2snn.leaderboard.published import Published, find
from ann2snn.leaderboard.rows import Row, rank, sections
from ann2snn.leaderboard.tables import DAGGER, UNOFFICIAL, figure_name, points, smallest
from ann2snn.records import recipe_name
from ann2snn.significance import holm
from ann2snn.training import RECIPES

NAME, AT, EARLY, ALPHA = "METHODS.md", 16, 4, 0.05
GRID = (1, 2, 4, 8, 16, 32)
LONGER = (64, 128)
BASE = ("optimal", {"reset": "soft"})
NOT_RUN = "not run"

HEAD = """\
# Every method on the same networks

<!-- Generated from records/ and published.csv by `ann2snn leaderboard`. Do not edit. -->

One simulator, one protocol, the same source weights, calibration images and test images for every method: binary
spikes, constant input current, accumulated read-out, every simulated step counted in T. Soft reset where nothing
else is said; hard reset is in [LEADERBOARD.md](LEADERBOARD.md), and so is every other number of these records. What
each method is, with its equations, its source and every known difference from it: the docstrings in
[baselines/](../baselines). `ann2snn compare A B` prints any two records image by image; `./reproduce.sh --profile
matrix` makes them all.
"""

TABLES = f"""\
## The tables

Rows are ordered by accuracy at T = {AT}. **T within 1 point** is chosen on validation, its test accuracy in brackets
(`-`: public weights, which have seen the validation images). **Latency** is how many steps pass at T = {AT} until the
output is known: more than T where neurons wait for their train or a part of it. **Calibration** is the images given
and the seconds that the conversion for T = {AT} took from an unseen source, on one busy CPU core or on a GPU that
several runs shared: an order of magnitude, not a benchmark; without seconds: they were not recorded. **Operations /
MACs** are the additions of the spiking network up to T = {AT} for each multiply-accumulate of the same layers in the
ANN; the first layer, which reads the image and no spikes, is in neither. Methods that draw are here with the draws of
seed 0; the others are under *Other calibrations*. **Against `optimal`** is the paired difference at T = {AT}:
of one source with its 95 % interval (unadjusted, from drawing the test images), of several training seeds one number
each. They are tested one by one and never pooled: *better* and *worse* mean that the exact McNemar test has p <
{ALPHA} after Holm's correction over the methods of the table, and in how many of them. One image in 360 is 0.28
points: rows that close are in no order. `n/a`: a T at or below the method's warm-up, in which nothing is read. Rows
of fewer sources than the first line of a table says (**n**) do not compare with the others.

Where a source was trained with a fixed threshold that most layers reach, the largest activation of a layer, of a
channel and the usual percentiles all are that threshold: methods that differ in these only have equal rows there.
"""


@dataclass(frozen=True)
class Table:
    """All methods on one kind of source: one dataset, network, activation and recipe."""

    dataset: str
    network: str
    activation: str
    recipe: str
    data_hash: str
    rows: list[Row]  # of calibration seed 0

    @property
    def name(self) -> str:
        made = self.recipe if any(r["job"]["seed"] is None for r in self.rows[0].records) else recipe_name(self.recipe)
        mark = "" if self.rows[0].official else f" {DAGGER}"
        return f"{self.dataset}{mark}, {self.network}, {self.activation} ({made})"

    def row(self, method: str, options: dict) -> Row | None:
        """The row of this method whose options have these values, at the usual calibration."""
        return next((row for row in self.rows if _is(row, method, options)), None)


def _is(row: Row, method: str, options: dict) -> bool:
    """Whether a row has these options, and for the rest the defaults."""
    if row.job.method != method:
        return False
    known = discover()
    wanted = (known[method].options if method in known else {}) | options
    return all(row.job.options.get(name, value) == value for name, value in wanted.items())


def variant(row: Row) -> int | None:
    """Which of the matrix it is, whatever the calibration; None: none."""
    return next((k for k, (method, options) in enumerate(VARIANTS) if _is(row, method, options)), None)


def tables(records: list[dict]) -> list[Table]:
    """One for each kind of source that has other methods than the paper's and its classic rivals, or that was trained
    for a method. Where the records are of several versions of a method, its row is the latest: never the best."""
    found: dict[tuple, dict[int, Row]] = {}
    for section in sections(records):
        for row in section.first_draws:
            if row.usual and (which := variant(row)) is not None:
                key = section.dataset, section.network, row.job.activation, row.job.recipe, row.job.data_hash
                rows = found.setdefault(key, {})
                rows[which] = max(rows.get(which, row), row, key=lambda row: row.job.method_version)
    whole = [Table(*key, rows=sorted(rows.values(), key=rank)) for key, rows in found.items()]
    return [table for table in whole if table.activation in TRAINED or len({r.job.method for r in table.rows}) > 4]


def against(row: Row, base: Row | None, T: int = AT) -> dict[int | None, Paired]:
    """The paired comparison with a row of the same sources, by training seed."""
    if base is None or base is row:
        return {}
    ours, theirs = ({r["job"]["seed"]: r for r in side.records} for side in (row, base))
    both = sorted(theirs.keys() & ours.keys(), key=str)
    return {s: paired(theirs[s], ours[s], T) for s in both if str(T) in theirs[s]["T"] and str(T) in ours[s]["T"]}


def differences(pairs: list[Paired]) -> str:
    """`+1.20 ± 0.41` of one source, `+1.20 / -0.30` of several: in points."""
    return pairs[0].interval if len(pairs) == 1 else " / ".join(f"{100 * pair.difference:+.2f}" for pair in pairs)


def verdicts(table: Table) -> dict[str, str]:
    """By row: `+1.20 ± 0.41, better`; of two training seeds `+1.20 / +0.30, better in 1 of 2`."""
    base, pairs = table.row(*BASE), {}
    for row in table.rows:
        for seed, pair in against(row, base).items():
            pairs[row.job.row, seed] = pair
    adjusted: dict[tuple, float] = {}
    for seed in dict.fromkeys(seed for _, seed in pairs):
        keys = [key for key in pairs if key[1] == seed]
        adjusted |= dict(zip(keys, holm([pairs[key].p for key in keys]), strict=True))
    out = {}
    for row in table.rows:
        mine = [(pairs[key], p) for key, p in adjusted.items() if key[0] == row.job.row]
        if mine:
            found = [("better" if x.won > x.lost else "worse") if p < ALPHA else "" for x, p in mine]
            counts = {word: found.count(word) for word in ("better", "worse") if word in found}
            words = [f"{word} in {n} of {len(mine)}" if len(mine) > 1 else word for word, n in counts.items()]
            out[row.job.row] = ", ".join([differences([x for x, _ in mine]), *words])
    return out


def table_text(table: Table, published: list[Published]) -> str:
    verdict, lines = verdicts(table), []
    grid = [*GRID, *(T for T in LONGER if any(row.accuracy(T) for row in table.rows))]
    for row in table.rows:
        price = row.per_mac(AT)
        lines.append([
            label(row),
            str(row.n),
            *(_cell(row, T) for T in grid),
            smallest(row),
            str(row.one(AT, "latency") or AT),
            f"{row.job.calibration:,}{_seconds(row)}",
            "-" if price is None else f"{float(price):.2f}",
            verdict.get(row.job.row, "-"),
            _published(row, published),
        ])  # fmt: skip
    heads = ["method", "n", *(f"T = {T}" for T in grid), "T within 1 point", "latency", "calibration"]
    heads += ["operations / MACs", "against `optimal`", f"published, T = {AT}"]
    cited = any(line[-1] != "-" for line in lines)
    if not cited:
        heads, lines = heads[:-1], [line[:-1] for line in lines]
    text = tabulate(lines, heads, tablefmt="github", disable_numparse=True)
    first = table.rows[0]
    note = [] if first.official else [f"{DAGGER} {UNOFFICIAL}"]
    whole = max(table.rows, key=lambda row: row.n)
    about = f"ANN {points(whole.ann, whole.n)} % (n = {whole.n}), {first.n_test:,} test images."
    lacking = _missing(table) + (
        ""
        if cited
        else f" No published number at T = {AT} of these methods on this network, layer for layer, is known."
    )
    return "\n\n".join([f"### {table.name}", about, text, *note, lacking]) + "\n"


def _cell(row: Row, T: int) -> str:
    return points(row.accuracy(T), row.n) if T > row.warmup else "n/a"


def _seconds(row: Row) -> str:
    """`, 3.2 s` or `, 3.2 s (GPU)`; nothing where no record says it."""
    for r in row.records:
        if (spent := r["T"].get(str(AT), {}).get("conversion_seconds")) is not None:
            return f", {spent:.3g} s" + " (GPU)" * r["provenance"]["device"].startswith("cuda")
    return ""


def _published(row: Row, published: list[Published]) -> str:
    """Of the same method on the same network, layer for layer; the weights are others."""
    same = find(published, method=row.job.method, dataset=row.job.dataset, network=row.job.network, T=AT)
    return "; ".join(f"{x.accuracy:.2f} ({x.pipeline})" for x in same) or "-"


def _missing(table: Table) -> str:
    """The methods that have no row, and why."""
    known, foreign, not_run = discover(), [], []
    for method, options in VARIANTS:
        if method in known and not table.row(method, options):
            if not known[method].applies(table.activation):
                foreign.append(f"`{method}` does not apply (it is for sources trained with {known[method].only_on})")
            else:
                not_run.append(f"`{', '.join([method, *(f'{k} {v}' for k, v in options.items())])}`")
    lacking = foreign + ([f"{NOT_RUN}: {', '.join(not_run)}"] if not_run else [])
    return f"No row: {'; '.join(lacking)}." if lacking else "All methods have a row."


# ----------------------------------------------------------------------------------------------------- the findings


@dataclass(frozen=True)
class Question:
    """What one factor buys: `b` has it, `a` has not, and all else is equal."""

    title: str
    factor: str
    a: tuple[str, dict]
    b: tuple[str, dict]
    sources: tuple[str, ...] = ()  # the activations of the sources of `b`, where they are others than that of `a`


SOFT = {"reset": "soft"}
QUESTIONS = (
    Question("What thresholds buy", "thresholds of least squared error by channel, instead of the layer's maximum",
             BASE, ("mmse", {"error": "round"})),
    Question("What the shift buys", "V/(2T) at every step", ("max_norm", SOFT), BASE),
    Question("What the start potential buys", "membranes that start at V/2, instead of empty",
             ("max_norm", SOFT), ("opi", SOFT)),
    Question("What a bias for each step buys", "FTBC's bias by channel and step, on thresholds of least floor error",
             ("mmse", {"error": "floor"}), ("ftbc", {})),
    Question("What a trained source buys", "a QCFS source and its thresholds, instead of a ReLU source and its maxima",
             ("opi", SOFT), ("qcfs", {}), TRAINED[:2]),
    Question("What trained clipping buys", "a TCL source and its thresholds, instead of a ReLU source and its maxima",
             ("max_norm", SOFT), ("tcl", {}), ("tcl",)),
    Question("What accumulate-then-fire buys", "neurons that wait for their whole train, instead of firing at once",
             ("opi", SOFT), ("accumulate_then_fire", {"per_channel": False})),
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    table: Table
    base: Row
    row: Row
    pairs: dict[int | None, Paired]  # at T = 16
    early: dict[int | None, Paired]  # at T = 4, where both were run

    def text(self) -> str:
        parts = ((T, list(at.values())) for T, at in ((AT, self.pairs), (EARLY, self.early)) if at)
        text = f"on {self.table.name} " + " and ".join(f"{differences(pairs)} at T = {T}" for T, pairs in parts)
        if not _same_source(self.base.records[0]["job"], self.table):
            text += f" (the ANNs alone differ by {self.ann_gap:+.2f})"
        return text + (f", for a latency of {self.latency} steps instead of {AT}" if self.latency > AT else "")

    @property
    def latency(self) -> int:
        return self.row.one(AT, "latency") or AT

    @property
    def ann_gap(self) -> float:
        """What the source networks themselves differ by, in points, over the seeds that are compared."""
        a, b = ({r["job"]["seed"]: ann_share(r) for r in row.records} for row in (self.base, self.row))
        return mean(100 * (b[seed] - a[seed]) for seed in self.pairs)

    @property
    def size(self) -> float:
        """The largest mean difference."""
        sides = [list(at.values()) for at in (self.pairs, self.early) if at]
        return max(abs(mean(pair.difference for pair in pairs)) for pairs in sides)

    @property
    def surprises(self) -> bool:
        """Whether it makes every source worse, by more than drawing the images explains."""
        return all(pair.difference + pair.margin < 0 for pair in self.pairs.values())


def answers(question: Question, found: list[Table]) -> Iterator[Answer]:
    """On every kind of source that has both rows; largest test sets first, ReLU before other activations.

    Trained thresholds are for the question about them only: elsewhere methods would differ in which they use.
    """
    for table in sorted(found, key=lambda t: (-t.rows[0].n_test, t.activation != "relu", t.name)):
        if not question.sources and table.activation in TRAINED:
            continue
        row, base = table.row(*question.b), table.row(*question.a)
        if question.sources:
            if table.activation not in question.sources:
                continue
            relu = _relu_source(table.rows[0].records[0]["job"])
            other = next((t for t in found if _same_source(relu, t)), None)
            base = other and other.row(*question.a)
        if row and base and (pairs := against(row, base)):
            yield Answer(table, base, row, pairs, against(row, base, EARLY))


def _relu_source(job: dict) -> dict:
    """The job on the ReLU source of the same recipe, or on the one that the source was trained on from."""
    plan = next((recipe for recipe in RECIPES.values() if recipe.key == job["recipe"]), None)
    start = plan and plan.start
    begun = RECIPES[start.recipe].key if start and start.activation == "relu" else job["recipe"]
    return job | {"activation": "relu", "recipe": begun}


FINDINGS = """\
Differences of the test accuracy in points, one for each training seed; with ± (95 %, from drawing the test images)
where there is one source. Here on the largest test set that has the answer; on every source below.
"""


def findings(found: list[Table]) -> str:
    """One sentence a question. What makes things worse stands first, then the largest effects."""
    lines = []
    for question in QUESTIONS:
        if all_ := list(answers(question, found)):
            largest = [x for x in all_ if x.table.rows[0].n_test == all_[0].table.rows[0].n_test]
            what = f"{question.factor}; `{label(largest[0].row)}` - `{label(largest[0].base)}`"
            text = f"- **{question.title}** ({what}): {'; '.join(answer.text() for answer in largest)}."
            lines.append((not largest[0].surprises, -largest[0].size, text))
        else:
            lines.append((True, 1.0, f"- **{question.title}** ({question.factor}): {NOT_RUN}."))
    return "\n".join(text for *_, text in sorted(lines))


def on_every_source(found: list[Table]) -> str:
    """The answers to all questions, a line for every kind of source."""
    lines = []
    for question in QUESTIONS:
        for answer in answers(question, found):
            cells = [differences(list(at.values())) if at else "-" for at in (answer.early, answer.pairs)]
            waits = str(answer.latency) if answer.latency > AT else ""
            gap = "" if _same_source(answer.base.records[0]["job"], answer.table) else f"{answer.ann_gap:+.2f}"
            lines.append([question.title.removeprefix("What ").rpartition(" buy")[0], answer.table.name, *cells,
                          waits, gap])  # fmt: skip
    heads = ["what is bought", "source", f"T = {EARLY}", f"T = {AT}", f"latency, T = {AT}", "the ANNs alone"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def chosen_on_test(found: list[Table], records: list[dict]) -> str:
    """What it is worth to pick FTBC's update by test accuracy, as its script does."""
    lines = []
    for table in found:
        runs: dict[int, float] = {}
        for r in records:
            job = r["job"]
            row, first = Row([r], {}), job["calibration_seed"] == 0 and job["seed"] in (0, None)
            usual = row.usual and _is(row, "ftbc", {"updates": job["options"].get("updates")})
            if first and usual and _same_source(job, table) and str(AT) in r["T"]:
                test = r["T"][str(AT)]["test"]
                runs[job["options"]["updates"]] = 100 * test["correct"] / test["n"]
        if len(runs) > 1:
            usual = discover()["ftbc"].options["updates"]
            best = max(runs, key=lambda k: runs[k])
            own = f", {runs[best] - runs[usual]:.2f} points above that of its {usual}" if usual in runs else ""
            lines.append(f"- {table.name}: the best of {len(runs)} has {best} updates and {runs[best]:.2f} %{own}.")
    return "\n".join(lines) or NOT_RUN.capitalize() + "."


def quantisers(records: list[dict]) -> str:
    """A QCFS source's quantiser against the potential that its neurons start from: floor, round, ceil x 0, V/2, V."""
    lines = []
    for section in sections(records):
        rows = [r for r in section.rows if r.job.activation in QUANTISERS and any(_is(r, *start) for start in STARTS)]
        kinds = {row.job.activation for row in rows}
        if kinds >= set(QUANTISERS):
            for row in sorted(rows, key=lambda r: (QUANTISERS.index(r.job.activation), r.job.options["start"])):
                rounding = row.job.activation.split(":")[2:] or ["round"]
                source = [f"{section.dataset}, {section.network}", rounding[0], str(row.n), points(row.ann, row.n)]
                start = {0.0: "0", 0.5: "V/2", 1.0: "V"}[row.job.options["start"]]
                lines.append([*source, start, *(points(row.accuracy(T), row.n) for T in GRID)])
    heads = ["source", "quantiser", "n", "ANN", "start", *(f"T = {T}" for T in GRID)]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True) if lines else NOT_RUN.capitalize() + "."


def other_calibrations(found: list[Table], records: list[dict]) -> str:
    """The same jobs with other calibration images, or other draws, beside the table's row of the same source."""
    lines = []
    for table in found:
        for r in records:
            job = r["job"]
            usual = (job["calibration"], job["calibration_seed"]) == (1024, 0)
            if usual or not _same_source(job, table) or str(AT) not in r["T"]:
                continue
            if variant(own := Row([r], {})) is None:
                continue
            row = table.row(job["method"], job["options"])
            same = [b for b in row.records if b["job"]["seed"] == job["seed"] and str(AT) in b["T"]] if row else []
            share = 100 * r["T"][str(AT)]["test"]["correct"] / r["T"][str(AT)]["test"]["n"]
            lines.append([table.name, label(own), f"{job['calibration']:,}", job["calibration_seed"], f"{share:.2f}",
                          paired(same[0], r, AT).interval if same else NOT_RUN])  # fmt: skip
    heads = ["source", "method", "calibration images", "seed", f"T = {AT}", "against 1,024 images, seed 0"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True) if lines else NOT_RUN.capitalize() + "."


def _same_source(job: dict, table: Table) -> bool:
    names = ("dataset", "network", "activation", "recipe", "data_hash")
    return all(job[name] == getattr(table, name) for name in names)


def method_list() -> str:
    """What every method is in a sentence, and what was read of it: from its docstring."""
    lines = []
    for name in dict.fromkeys(method for method, _ in VARIANTS):
        text = inspect.cleandoc(discover()[name].function.__doc__ or "")
        first = " ".join(text.partition("\n\n")[0].split()).partition(": ")[0].rstrip(".:")
        read = " ".join(text.rpartition("Read:")[2].split()).rstrip(".")
        known = discover()[name]
        lines.append([f"`{name}`", known.paper, known.published_on, first.replace("|", "\\|"), read])
    heads = ["method", "paper", "its sources", "in a sentence", "read"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


LEFT_OUT = {
    "TSC (Han & Roy, ECCV 2020)": "codes a value in the time between two spikes; its rules were not to be read",
    "AdaFire (AAAI 2025)": "several spikes a step: not binary",
    "burst spikes (IJCAI 2022)": "several spikes a step: not binary",
    "SNM (Wang 2022)": "signed spikes: not binary",
    "DCGS (ICML 2025), H-MT (AAAI 2026), GN (2024)": "graded spikes, or several neurons for one: not binary",
    "RNL (Ding 2021)": "its second training stage, of shared thresholds with a loss of its own, is not expressed here",
    "SNN calibration's weight calibration": "an option of `snnc_ap` (`iterations=5000`), not run",
    "PASCAL (TMLR 2025)": "inhibitory counts between the steps, and levels of each layer's own",
}


def page(known: Known) -> str:
    records, found = known.records, tables(known.records)
    parts = [HEAD, "## What it says\n", FINDINGS, findings(found) + "\n"]
    parts += ["<details><summary>On every source</summary>\n", on_every_source(found), "\n</details>\n"]
    parts += ["## What picking by test accuracy is worth\n"]
    parts += ["FTBC's script keeps the update with the best *test* accuracy. Nothing here does; what it would add,"]
    parts += [
        f"at T = {AT}, over records that differ in the number of updates only:\n",
        chosen_on_test(found, records),
    ]
    parts += [
        "",
        "## Other calibrations\n",
        f"At T = {AT}: the budgets of the papers, and other calibration images with other draws.\n",
    ]
    parts += [other_calibrations(found, records), "", "## Quantiser and start\n"]
    parts += [f"Sources trained with QCFS of {TRAINED[0][-1]} steps, whose stairs are floored, rounded or ceiled: at"]
    parts += ["as many steps of constant current a neuron that starts at 0, V/2 or V has the same stairs. (A network"]
    parts += ["keeps that only in part: its currents are not constant.)\n"]
    pictures = [
        f"![Every method, {section.dataset}, {section.network}](figures/methods-{figure_name(section)}.svg)\n"
        for section in sections(records)
        if curves(section)
    ]
    parts += [quantisers(records), "", TABLES, *pictures, *(table_text(table, known.published) for table in found)]
    parts += [
        "## The methods\n",
        method_list(),
        "\n## Left out\n",
        *(f"- {name}: {why}." for name, why in LEFT_OUT.items()),
    ]
    return "\n".join(parts) + "\n"


def wanted(known: Known) -> bool:
    """Where no source has all methods there is no page."""
    return bool(tables(known.records))
