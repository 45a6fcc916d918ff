"""Number of CPU threads that a command uses."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ann2snn.data.catalog import DATASETS


@contextmanager
def cpu_threads(n: int | None) -> Iterator[None]:
    """Sets the number of PyTorch's CPU threads to n inside the context; None keeps it."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SMALL_IMAGE = 8 * 8  # pixels; a second thread slows down the simulation of images up to this size
CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cgroup_quota(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float:
    """Number of CPUs that the cgroups (versions 1 and 2) of this process allow; infinity without a limit."""
    limits = [math.inf]
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for base in {root, root / "unified"} if not controllers else {root / "cpu", root / controllers}:
            folder = base / path.lstrip("/")
            for group in (folder, *folder.parents):  # a limit applies to all groups below it
                limits.append(_limit(group))
                if group == base:
                    break
    return min(limits)


def _limit(folder: Path) -> float:
    words = _text(folder / "cpu.max").split()  # version 2: "200000 100000" or "max 100000"
    if len(words) != 2:
        words = [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]  # -1: no quota
    try:
        quota, period = map(int, words)
    except ValueError:
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@dataclass(frozen=True)
class Machine:
    """The processors of a machine that this process can use."""

    processors: int  # of the machine
    affinity: int  # processors that this process may run on
    quota: float  # processors that its cgroups allow
    load: float  # running or waiting processes, mean over a minute

    @property
    def cores(self) -> int:
        """Number of processors that this process can use."""
        return max(1, min(self.affinity, int(min(self.quota, self.processors))))

    @property
    def free(self) -> int:
        """Number of those that other processes leave free."""
        return max(1, min(self.cores, round(self.processors - self.load)))


def this_machine() -> Machine:
    """The machine that this process runs on."""
    processors = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else processors
    try:
        load = os.getloadavg()[0]
    except (OSError, AttributeError):
        load = 0.0
    return Machine(processors, affinity, cgroup_quota(), load)


def default_threads(machine: Machine, torch_default: int, before: int | None = None) -> tuple[int, str]:
    """The default number of threads, and why it is not the number of cores.

    Args:
        machine: The machine.
        torch_default: PyTorch's default.
        before: The number that earlier commands used for the same folder of results. It is used again, as results of
            different numbers of threads are not merged: a sweep that is resumed under another load would start again.
    """
    if before:
        return min(before, machine.cores), "as for the results that are there"
    available = min(machine.cores, torch_default)
    if machine.free < available:
        return machine.free, f"the machine is busy, load {machine.load:.1f}"
    return available, "PyTorch's default"


def choose_threads(dataset: str | None, runs: Path, torch_default: int, remember: bool = True) -> int:
    """Chooses the number of threads on this machine, with a notice on stderr if it is less than the number of cores.

    Args:
        dataset: Name of the dataset; small images are simulated on one thread.
        runs: Folder of this machine's results. The choice is saved in `runs/threads` for the next command.
        torch_default: PyTorch's default.
        remember: Whether to save the choice.
    """
    file, machine = runs / "threads", this_machine()
    text = _text(file).strip()
    is_small = dataset in DATASETS and math.prod(DATASETS[dataset].shape[1:]) <= SMALL_IMAGE
    if is_small:
        n, reason = 1, f"more do not help on images as small as those of {dataset}"
    else:
        n, reason = default_threads(machine, torch_default, int(text) if text.isdecimal() else None)
    if n < machine.cores:
        print(f"{n} of {machine.cores} CPU threads ({reason}); --threads N takes another number.", file=sys.stderr)
    if remember and not is_small and not text:
        from ann2snn.files import write_atomic

        write_atomic(file, f"{n}\n")
    return n
