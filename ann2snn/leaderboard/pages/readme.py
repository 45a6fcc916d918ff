"""The README's table: methods down, source networks across, two T's in every cell."""

from pathlib import Path

from tabulate import tabulate

from ann2snn.errors import UserError
from ann2snn.leaderboard.format import DAGGER, UNOFFICIAL, escaped
from ann2snn.leaderboard.rows import Row, sections
from ann2snn.records.job import recipe_name

BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
T = (16, 32)
SHOWN = {  # at most four sources, the paper's first; the leaderboard has all of them
    ("cifar10", "deng_vgg16", "threshold_relu:1", "bn_free"): "VGG-16, without batch norm, threshold ReLU",
    ("cifar10", "cifar_resnet20", "threshold_relu:1", "cifar"): "ResNet-20, threshold ReLU",
    ("cifar10", "cifar_resnet20", "relu", "akamaster"): "ResNet-20, ReLU, public weights",
    ("cifar100", "cifar_resnet20", "threshold_relu:2", "cifar"): "ResNet-20, threshold ReLU",
}
METHODS = ("da_qcfs", "ftbc", "snnc_ap", "tpp", "ltb", "opi", "optimal", "max_norm")  # at most eight, by label
NOTE = """\
Test accuracy in % at T = {T}, mean over n trained sources, soft reset; `-`: not run. The sampling of the
10,000 test images has a standard error of at most 0.5 points. The last two columns are for {source} at T = {first}:
steps until the output is known, and synaptic operations per multiply-accumulate of the ANN.
"""


def columns(records: list[dict]) -> dict[tuple, dict[str, Row]]:
    """The rows of `METHODS` by source and label, the latest version of each method."""
    found: dict[tuple, dict[str, Row]] = {source: {} for source in SHOWN}
    for section in sections(records):
        for row in section.first_draws:
            source = section.dataset, section.network, row.job.activation, recipe_name(row.job.recipe)
            if source in SHOWN and row.is_default_protocol and row.job.label in METHODS:
                now = found[source].get(name := row.job.label, row)
                found[source][name] = max(now, row, key=lambda row: row.job.method_version)
    return {source: rows for source, rows in found.items() if rows}


def table(records: list[dict]) -> str:
    """Markdown; rows are ordered by the source that has most methods. UserError where no source has a record."""
    if not (found := columns(records)):
        raise UserError("The README's table is empty: no record is of a source in SHOWN (leaderboard/pages/readme.py).")
    fullest = max(found, key=lambda source: len(found[source]))
    names = dict.fromkeys(name for rows in (found[fullest], *found.values()) for name in rows)
    names = sorted(names, key=lambda name: _shares(found[fullest].get(name)), reverse=True)
    largest = {source: max(rows.values(), key=lambda row: row.n) for source, rows in found.items()}
    anns = [f"{float(100 * row.ann.mean):.1f}" for row in largest.values()]
    lines = [["the ANN itself", *anns, "", ""]]
    lines += [
        [
            name,
            *(_cell(rows.get(name), largest[source].n) for source, rows in found.items()),
            *_operations(found[fullest].get(name)),
        ]
        for name in names
    ]
    headers = [
        "method",
        *(_head(source, row) for source, row in largest.items()),
        "steps to<br>the output",
        "operations<br>/ MACs",
    ]
    about = NOTE.format(T=" / ".join(map(str, T)), first=T[0], source=f"{fullest[0]}, {SHOWN[fullest]}")
    marked = any(not row.official for row in largest.values())
    text = tabulate(lines, headers, tablefmt="github", disable_numparse=True)
    return f"{text}\n\n{about}" + f"{DAGGER} {UNOFFICIAL}\n" * marked


def _head(source: tuple, row: Row) -> str:
    dataset, _, activation, _ = source
    mark = "" if row.official else f" {DAGGER}"
    return f"{SHOWN[source]}<br>{dataset}{mark}, `{activation}`<br>n = {row.n}"


def _shares(row: Row | None) -> list[float]:
    cells = [row and row.accuracy(t) for t in T]
    return [float(cell.mean) if cell else -1.0 for cell in cells]


def _cell(row: Row | None, n: int) -> str:
    """`30.1 / 66.8`, with its own n where that is not the column's."""
    if row is None:
        return "-"
    text = " / ".join("-" if share < 0 else f"{100 * share:.1f}" for share in _shares(row))
    return text if row.n == n else f"{text} (n = {row.n})"


def _operations(row: Row | None) -> list[str]:
    """At the first T: the latency, and operations for each multiply-accumulate."""
    if row is None or not (operations := row.per_mac(T[0])):
        return ["-", "-"]
    return [str(row.one(T[0], "latency") or T[0]), f"{float(operations):.2f}"]


def with_table(path: Path | str, records: list[dict]) -> str:
    """The text of a Markdown file with the table of the records between its two markers."""
    before, begin, rest = Path(path).read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{path} needs the lines {BEGIN} and {END}, in this order, for the table to go between.")
    return f"{before}{BEGIN}\n{table(escaped(records))}{END}{after}"
