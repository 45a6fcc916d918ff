"""All methods on one kind of source: the rows of `results/METHODS.md`, tested against the paper's method."""

from dataclasses import dataclass

from tabulate import tabulate

from ann2snn.experiments.presets import OPTIMAL, TRAINED_ACTIVATIONS, VARIANTS
from ann2snn.leaderboard.format import DAGGER, UNOFFICIAL, points, smallest
from ann2snn.leaderboard.paired import Paired, paired
from ann2snn.leaderboard.published import Published, find
from ann2snn.leaderboard.rows import REF_T, Row, rank, sections
from ann2snn.methods.registry import discover
from ann2snn.metrics.significance import holm
from ann2snn.records.job import label, recipe_name

ALPHA = 0.05
GRID = (1, 2, 4, 8, 16, 32)
LONGER = (64, 128)
NOT_RUN = "not run"


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
        """The row of this method with these options and the default calibration."""
        return next((row for row in self.rows if is_variant(row, method, options)), None)


def is_variant(row: Row, method: str, options: dict) -> bool:
    """Whether a row has these options, and the defaults otherwise."""
    if row.job.method != method:
        return False
    known = discover()
    wanted = (known[method].options if method in known else {}) | options
    return all(row.job.options.get(name, value) == value for name, value in wanted.items())


def variant_index(row: Row) -> int | None:
    """Index of the row's variant in `VARIANTS`, with any calibration; None if it is not one."""
    return next((k for k, (method, options) in enumerate(VARIANTS) if is_variant(row, method, options)), None)


def tables(records: list[dict]) -> list[Table]:
    """One table per kind of source that was trained for a method, or has methods besides the paper's and classic ones.

    If the records are of several versions of a method, its row is the latest and never the best.
    """
    found: dict[tuple, dict[int, Row]] = {}
    for section in sections(records):
        for row in section.first_draws:
            if row.is_default_protocol and (which := variant_index(row)) is not None:
                key = section.dataset, section.network, row.job.activation, row.job.recipe, row.job.data_hash
                rows = found.setdefault(key, {})
                rows[which] = max(rows.get(which, row), row, key=lambda row: row.job.method_version)
    whole = [Table(*key, rows=sorted(rows.values(), key=rank)) for key, rows in found.items()]
    return [
        table
        for table in whole
        if table.activation in TRAINED_ACTIVATIONS or len({r.job.method for r in table.rows}) > 4
    ]


def against(row: Row, base: Row | None, T: int = REF_T) -> dict[int | None, Paired]:
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
    base, pairs = table.row(*OPTIMAL), {}
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
    """A table as Markdown, with its notes."""
    verdict, lines = verdicts(table), []
    grid = [*GRID, *(T for T in LONGER if any(row.accuracy(T) for row in table.rows))]
    for row in table.rows:
        operations = row.per_mac(REF_T)
        lines.append([
            row.job.label,
            str(row.n),
            *(_cell(row, T) for T in grid),
            smallest(row),
            str(row.one(REF_T, "latency") or REF_T),
            f"{row.job.calibration:,}{_seconds(row)}",
            "-" if operations is None else f"{float(operations):.2f}",
            verdict.get(row.job.row, "-"),
            _published(row, published),
        ])  # fmt: skip
    headers = ["method", "n", *(f"T = {T}" for T in grid), "T within 1 point", "latency", "calibration"]
    headers += ["operations / MACs", "against `optimal`", f"published, T = {REF_T}"]
    is_cited = any(line[-1] != "-" for line in lines)
    if not is_cited:
        headers, lines = headers[:-1], [line[:-1] for line in lines]
    text = tabulate(lines, headers, tablefmt="github", disable_numparse=True)
    first = table.rows[0]
    note = [] if first.official else [f"{DAGGER} {UNOFFICIAL}"]
    whole = max(table.rows, key=lambda row: row.n)
    about = f"ANN {points(whole.ann, whole.n)} % (n = {whole.n}), {first.n_test:,} test images."
    lacking = _missing(table) + (
        ""
        if is_cited
        else f" There is no known published number of these methods on this network, layer for layer, at T = {REF_T}."
    )
    return "\n\n".join([f"### {table.name}", about, text, *note, lacking]) + "\n"


def _cell(row: Row, T: int) -> str:
    return points(row.accuracy(T), row.n) if row.warmup < T else "n/a"


def _seconds(row: Row) -> str:
    """`, 3.2 s` or `, 3.2 s (GPU)`; empty if no record has it."""
    for r in row.records:
        if (spent := r["T"].get(str(REF_T), {}).get("conversion_seconds")) is not None:
            return f", {spent:.3g} s" + " (GPU)" * r["provenance"]["device"].startswith("cuda")
    return ""


def _published(row: Row, published: list[Published]) -> str:
    """Published accuracies of the same method on the same network, layer for layer, with other weights."""
    same = find(published, method=row.job.method, dataset=row.job.dataset, network=row.job.network, T=REF_T)
    return "; ".join(f"{x.accuracy:.2f} ({x.pipeline})" for x in same) or "-"


def _missing(table: Table) -> str:
    """The methods that have no row, and why."""
    known, foreign, not_run = discover(), [], []
    for method, options in VARIANTS:
        if method in known and not table.row(method, options):
            if not known[method].applies(table.activation):
                foreign.append(
                    f"`{method}` does not apply (it is for sources trained with {known[method].required_activation})"
                )
            else:
                not_run.append(f"`{label(method, options)}`")
    lacking = foreign + ([f"{NOT_RUN}: {', '.join(not_run)}"] if not_run else [])
    return f"No row: {'; '.join(lacking)}." if lacking else "All methods have a row."


def same_source(job: dict, table: Table) -> bool:
    """Whether a job is of the table's source."""
    names = ("dataset", "network", "activation", "recipe", "data_hash")
    return all(job[name] == getattr(table, name) for name in names)
