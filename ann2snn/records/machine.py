"""Where and with what a record was made."""

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


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


def hardware(device: str) -> str:
    """What a training's bits depend on: "a processor, 2 threads, torch 2.15.0", "cuda: NVIDIA H200, torch 2.11.0"."""
    import torch

    what = device_name(device) if device == "cuda" else f"{cpu_model()}, {torch.get_num_threads()} threads"
    return f"{what}, torch {_version('torch')}"


def device_name(device: str) -> str:
    """Of a record's provenance: "cpu", or "cuda: NVIDIA H200"."""
    import torch

    return f"cuda: {torch.cuda.get_device_name()}" if device == "cuda" else device


def cpu_model() -> str:
    """The processor's name, such as "AMD EPYC 7763 64-Core Processor"."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _without_folder(argument: str) -> str:
    """A path from the root is the last part of it: the rest is of this machine alone."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _versions() -> dict[str, str | None]:
    return {"ann2snn": _version("ann2snn"), "torch": _version("torch"), "python": platform.python_version()}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
