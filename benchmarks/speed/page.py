"""The page of all records, with the medians beside the targets."""

from pathlib import Path
from types import NoneType

from tabulate import tabulate

from ann2snn.benchmarks.speed.cases import NETWORKS, ROUNDS  # type: ignore
from ann2snn.benchmarks.speed.experiments import EXPERIMENTS  # type: ignore
from ann2snn.conform import conform
from ann2snn.errors import UserError
from ann2snn.reading import DamagedFile, leave_out, read_json

SCHEMA = {
    "what": str,
    "machine": {"cpu": str, "date": str, "threads": int, "versions": {"torch": str}, "commit": (str, NoneType)}
    | {"dirty": (bool, NoneType)},
    "rows": [{}],
}
TARGETS = {"x ANN": 0.45, "times slower": 5.0, "cost of counting, %": 5.0}  # set before the simulator was built


def verdicts(records: dict[str, list[dict]]) -> list[dict]:
    """Medians against the targets, for every network that was measured."""

    def medians(what: str, column: str, name: str) -> dict[str, float]:
        rows = (
            row for row in records.get(what, []) if row["network"] == name and row.get(column, "refused") != "refused"
        )
        return {str(row.get("simulator", row["T"])): float(row[column].split()[0]) for row in rows}

    def judged(bound: float, *values: float, at_most: bool = True) -> str:
        """No verdict where two experiments measured the same, on both sides of the bound."""
        found = {"met" if (value <= bound) == at_most else "missed" for value in values}
        return f"{' and '.join(f'{v:.3g}' for v in values)}: {found.pop() if len(found) == 1 else 'no verdict'}"

    out = []
    for name in NETWORKS:
        steps, others = medians("engine", "x ANN", name), medians("peers", "x ann2snn", name)
        others.pop("ann2snn", None)
        beside = medians("peers", "x ANN", name).get("ann2snn")
        beside_at = next((str(row["T"]) for row in records.get("peers", []) if row["network"] == name), None)
        row = {"network": name}
        for T, ratio in steps.items():
            again = [beside] if beside is not None and beside_at == T else []
            row[f"x ANN at T = {T}, at most {TARGETS['x ANN']}"] = judged(TARGETS["x ANN"], ratio, *again)
        if others:
            fastest = min(others, key=others.__getitem__)
            head = f"fastest peer / ann2snn, at least {TARGETS['times slower']:g}"
            row[head] = f"{judged(TARGETS['times slower'], others[fastest], at_most=False)} ({fastest})"
        for cost in medians("counting", "cost of counting, %", name).values():
            row["counting, %, at most 5"] = judged(TARGETS["cost of counting, %"], cost)
        out.append(row)
    return out


def load_all(root: Path) -> list[dict]:
    """The records below `root`, by experiment, the newest last; a damaged file is left out and named on stderr."""
    found = []
    for path in sorted(root.glob("*.json")):
        try:
            record = read_json(path)
            try:
                conform(record, SCHEMA, "record")
                if record["what"] not in EXPERIMENTS:
                    raise ValueError(f"there is no experiment {record['what']!r}")
            except ValueError as error:
                raise DamagedFile(path, f"is no record of an experiment: {error}", "remove it") from None
            found.append(record)
        except UserError as error:
            leave_out(error)
    return sorted(found, key=lambda record: (list(EXPERIMENTS).index(record["what"]), record["machine"]["date"]))


def page(root: Path) -> str:
    """All records below `root` as one Markdown page."""
    records = load_all(root)
    parts = [
        "# Speed",
        "<!-- Generated: `python -m ann2snn.benchmarks.speed`. Do not edit. -->",
        "`x ANN`: time per image and step in units of one forward pass of the same ANN at its fastest, measured in the "
        f"same run; median [lowest .. highest] of the ratios of {ROUNDS} interleaved rounds (of one "
        "round where the three are equal, of the rounds that the record lists where there are more). *Dense floor*: "
        "the share of the ANN's multiply-accumulates that a simulator which computes every layer in full repeats at "
        "every step; the first layer's need not be. *Operations / MACs*: synaptic operations of a step in units of the "
        "ANN's multiply-accumulates. Scaling is at T = 16. "
        "What was tried, and why it is fast: docs/speed.md. On a GPU: not measured.",
        "## Against the targets",
        tabulate(verdicts({r["what"]: r["rows"] for r in records}), headers="keys", tablefmt="github"),  # the newest
    ]
    for record in records:
        place = record["machine"]
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in record["rows"]]
        parts += [
            f"## {record['what'].capitalize()}: {EXPERIMENTS[record['what']].__doc__}",
            f"{place['cpu']}, {place['threads']} threads, torch {place['versions']['torch']}, commit "
            f"{(place['commit'] or 'unknown')[:7]}{' with changes' if place['dirty'] else ''}, {place['date'][:10]}.",
            tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True),
        ]
    return "\n\n".join(parts) + "\n"
