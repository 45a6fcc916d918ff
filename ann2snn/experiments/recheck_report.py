"""The report of `ann2snn recheck` on several records."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from ann2snn.errors import StorageError, UserError
from ann2snn.experiments.recheck import recheck
from ann2snn.experiments.recheck_result import RecheckResult
from ann2snn.experiments.sweep import Settings


def report(paths: Iterable[Path], settings: Settings, weights: Path | None = None, as_json: bool = False) -> int:
    """Rechecks records and prints the differences, and how many records agree.

    Args:
        paths: Records, and folders of records.
        settings: See `recheck`.
        weights: See `recheck`.
        as_json: Whether to print JSON instead of tables.

    Returns:
        The exit code: 0 if all records agree, 1 if one differs, else 2 if one cannot be rechecked.

    Raises:
        UserError: The only record cannot be rechecked, or a folder has no records.
    """
    files, entries = list(record_files(paths)), []
    for path in files:
        try:
            result = recheck(path, settings, weights)
        except StorageError:
            raise
        except UserError as error:
            if len(files) == 1:
                raise
            entries.append({"record": str(path), "agrees": None, "reason": str(error)})
            print(f"{path}: not rechecked. {error}", file=sys.stderr)
            continue
        T = [asdict(line) | {"allowed": 0 if result.same else line.allowed} for line in result.lines]
        entry = {"record": str(path), "agrees": result.agrees, "same_environment": result.same, "rule": result.rule}
        entries.append(entry | {"images_left_out": result.left_out, "T": T})
        if not as_json:
            print(_table(result))
            print(f"{path}: {'agrees' if result.agrees else 'DIFFERS'} ({result.rule})", flush=True)
    verdicts = [entry["agrees"] for entry in entries]
    if as_json:
        print(json.dumps({"agrees": all(verdicts), "records": entries}, indent=2))
    elif len(files) > 1:
        counts = ((verdicts.count(False), "differ"), (verdicts.count(None), "could not be rechecked"))
        rest = "".join(f", {n} {what}" for n, what in counts if n)
        print(f"\n{verdicts.count(True)} of {len(files)} records agree{rest}.")
    return 1 if False in verdicts else 2 if None in verdicts else 0


def record_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The given files, and all records below the given folders."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        files = (p for p in sorted(path.rglob("*.json")) if not p.name.endswith(".partial.json"))
        below = [p for p in files if "records" in p.absolute().parent.parts]
        if not below:
            raise UserError(f"There is no record below {path}: name a folder such as runs, or a file.")
        yield from below


def _table(result: RecheckResult) -> str:
    headers = ["T", "recorded", "recomputed", "images that differ"]
    headers += ["else differs"] if result.same else ["flips by rounding", "allowed"]
    rows = []
    for line in result.lines:
        row = [line.T, line.recorded, line.accuracy, line.differ]
        if result.same:
            row.append(", ".join(line.others) or "nothing")
        else:
            row += [", ".join(map(str, line.flips)), line.allowed]
        rows.append(row)
    return tabulate(rows, headers, floatfmt=".2f")
