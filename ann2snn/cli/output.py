"""What several commands print."""

import sys

from tabulate import tabulate


def accuracies(records: list[dict]) -> str:
    """Test accuracy over T, one line a record."""
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


def report_left_out(outcome) -> int:
    """Says what was skipped and what failed, and returns the exit code: 2 for a failure, or where there is nothing."""
    for word, found in (("skipped", outcome.skipped), ("failed", outcome.failed)):
        reasons: dict[str, dict[str, None]] = {}  # what, in order and once, by the reason
        for what, reason in found:
            reasons.setdefault(reason, {})[what] = None
        for reason, what in reasons.items():
            print(f"{word} {', '.join(what)}: {reason}", file=sys.stderr)
    return 2 if outcome.failed or not outcome.records else 0
