"""`ann2snn recheck`: several records, and a verdict over all of them."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from ann2snn.errors import StorageError, UserError
from ann2snn.experiments.recheck import Recheck, recheck
from ann2snn.experiments.sweep import Settings


def report(paths: Iterable[Path], settings: Settings, weights: Path | None = None, as_json: bool = False) -> int:
    """Prints what differs in every record of these files and folders, and how many agree.

    Returns 0 where all agree, 1 where one differs, else 2 where one cannot be rechecked. UserError where a single
    record cannot be, or a folder has none.
    """
    files, found = list(records_of(paths)), []
    for path in files:
        try:
            checked = recheck(path, settings, weights)
        except StorageError:
            raise
        except UserError as error:
            if len(files) == 1:
                raise
            found.append({"record": str(path), "agrees": None, "reason": str(error)})
            print(f"{path}: not rechecked. {error}", file=sys.stderr)
            continue
        T = [asdict(line) | {"allowed": 0 if checked.same else line.allowed} for line in checked.lines]
        entry = {"record": str(path), "agrees": checked.agrees, "same_environment": checked.same, "rule": checked.rule}
        found.append(entry | {"images_left_out": checked.left_out, "T": T})
        if not as_json:
            print(_table(checked))
            print(f"{path}: {'agrees' if checked.agrees else 'DIFFERS'} ({checked.rule})", flush=True)
    verdicts = [entry["agrees"] for entry in found]
    if as_json:
        print(json.dumps({"agrees": all(verdicts), "records": found}, indent=2))
    elif len(files) > 1:
        counts = ((verdicts.count(False), "differ"), (verdicts.count(None), "could not be rechecked"))
        rest = "".join(f", {n} {what}" for n, what in counts if n)
        print(f"\n{verdicts.count(True)} of {len(files)} records agree{rest}.")
    return 1 if False in verdicts else 2 if None in verdicts else 0


def records_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files, and of a folder all records below it."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        files = (p for p in sorted(path.rglob("*.json")) if not p.name.endswith(".partial.json"))
        below = [p for p in files if "records" in p.absolute().parent.parts]
        if not below:
            raise UserError(f"There is no record below {path}: name a folder such as runs, or a file.")
        yield from below


def _table(checked: Recheck) -> str:
    rows = []
    for x in checked.lines:
        last = [", ".join(x.others) or "nothing"] if checked.same else [", ".join(map(str, x.flips)), x.allowed]
        rows.append([x.T, x.recorded, x.accuracy, x.differ, *last])
    heads = ["T", "recorded", "recomputed", "images that differ"]
    heads += ["else differs"] if checked.same else ["flips by rounding", "allowed"]
    return tabulate(rows, heads, floatfmt=".2f")
