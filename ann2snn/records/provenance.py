"""The environment in which a record was made."""

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import ann2snn
from ann2snn.devices import _version, cpu_model


def provenance(*, device: str, threads: int, batch: int, calibration_hash: str) -> dict:
    """Where and with what a record is being made.

    `dirty` ignores `results/` and `runs/`. `commit` and `dirty` are None without git or outside of a git checkout.
    """
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--", ".", ":(exclude)results", ":(exclude)runs") if commit else None
    program = Path(sys.argv[0])
    name = program.parent.name if program.name in ("__main__.py", "cli.py") else program.name
    return {
        "commit": commit,
        "dirty": None if status is None else bool(status),
        "versions": _versions(),
        "device": device,
        "cpu": cpu_model(),
        "threads": threads,
        "batch": batch,
        "calibration_hash": calibration_hash,
        "command": shlex.join([name, *map(_without_folder, sys.argv[1:])]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def made_here(record: dict, device: str, threads: int) -> bool:
    """Whether a run would go on from a record: of this processor, these versions, "cpu" or "cuda", so many threads."""
    place = record["provenance"]
    same = (place["cpu"], place["versions"], place["threads"]) == (cpu_model(), _versions(), threads)
    return same and place["device"].startswith(device)


def _without_folder(argument: str) -> str:
    """A path from the root is the last part of it: the rest is of this machine alone."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _versions() -> dict[str, str | None]:
    return {"ann2snn": ann2snn.__version__, "torch": _version("torch"), "python": platform.python_version()}


def _git(*arguments: str) -> str | None:
    """What git says about the checkout that this file lies in; None without git or outside a checkout of the suite."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():  # an installed copy, perhaps inside someone else's checkout
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments], check=False, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
