"""Output that several commands print."""

import sys

from tabulate import tabulate


def accuracies(records: list[dict]) -> str:
    """Table of test accuracies in %, one line per record and one column per T."""
    from ann2snn.records.job import Job

    grid = sorted({int(t) for r in records for t in r["T"]})
    lines = []
    for r in records:
        job, n = Job(**r["job"]), r["ann"]["test"]["n"]
        cells = [100 * r["T"][str(t)]["test"]["correct"] / n if str(t) in r["T"] else None for t in grid]
        ann = 100 * r["ann"]["test"]["correct"] / n
        lines.append([job.network, job.activation, job.seed, job.label, ann, *cells])
    return tabulate(
        lines, ["network", "activation", "seed", "method", "ANN", *map(str, grid)], floatfmt=".1f", missingval="-"
    )


def report_skipped(outcome) -> int:
    """Prints skipped and failed jobs by reason; returns the exit code, 2 after a failure or without records."""
    for word, jobs in (("skipped", outcome.skipped), ("failed", outcome.failed)):
        by_reason: dict[str, dict[str, None]] = {}  # names in order, without repetitions
        for name, reason in jobs:
            by_reason.setdefault(reason, {})[name] = None
        for reason, names in by_reason.items():
            print(f"{word} {', '.join(names)}: {reason}", file=sys.stderr)
    return 2 if outcome.failed or not outcome.records else 0
