"""The environment in which a record is made."""

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import ann2snn
from ann2snn.devices import cpu_model, package_version
from ann2snn.records.schema import Provenance, Record, Versions


def provenance(*, device: str, threads: int, batch: int, calibration_hash: str) -> Provenance:
    """The provenance of a record that this process makes now.

    `commit` and `dirty` are None without git or outside a checkout of this package. `dirty` ignores `results/` and
    `runs/`.

    Args:
        device: Name of the device.
        threads: Number of CPU threads.
        batch: Images that are simulated at once.
        calibration_hash: Hash of the indices of the calibration images.
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


def is_same_environment(record: Record, device: str, threads: int) -> bool:
    """Whether a record was made with this processor, these versions, a "cpu" or "cuda" device and number of threads."""
    recorded = record["provenance"]
    same = (recorded["cpu"], recorded["versions"], recorded["threads"]) == (cpu_model(), _versions(), threads)
    return same and recorded["device"].startswith(device)


def _without_folder(argument: str) -> str:
    """The name of a file that is given by an absolute path: its folders exist on this machine only."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _versions() -> Versions:
    return {"ann2snn": ann2snn.__version__, "torch": package_version("torch"), "python": platform.python_version()}


def _git(*arguments: str) -> str | None:
    """Output of git for the checkout that contains this file; None without git or outside a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():  # an installed copy, perhaps inside someone else's checkout
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(checkout), *arguments], check=False, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
