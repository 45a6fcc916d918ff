"""How many CPU threads a command uses."""

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
    """n threads inside, as many as before afterwards; None leaves them alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SMALL = 8 * 8  # pixels of an image, up to which a second thread costs more than it brings
CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cgroup_quota(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float:
    """The CPUs that the cgroups of this process may use together, versions 1 and 2; inf without a limit."""
    limits = [math.inf]
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for base in {root, root / "unified"} if not controllers else {root / "cpu", root / controllers}:
            folder = base / path.lstrip("/")
            for place in (folder, *folder.parents):  # a limit binds all groups below it
                limits.append(_limit(place))
                if place == base:
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
    """What can be used of this machine."""

    processors: int  # of the whole machine
    affinity: int  # processors that this process may run on
    quota: float  # in processors, of its cgroups
    load: float  # processes that run or wait, mean over a minute

    @property
    def cores(self) -> int:
        """The cores that are there for this process."""
        return max(1, min(self.affinity, int(min(self.quota, self.processors))))

    @property
    def free(self) -> int:
        """Those of them that other processes leave."""
        return max(1, min(self.cores, round(self.processors - self.load)))


def this_machine() -> Machine:
    processors = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else processors
    try:
        load = os.getloadavg()[0]
    except (OSError, AttributeError):
        load = 0.0
    return Machine(processors, affinity, cgroup_quota(), load)


def default(machine: Machine, torch_default: int, before: int | None = None) -> tuple[int, str]:
    """The number of threads where nobody names one, and why it is not the number of cores, where it is not.

    `before` is what earlier commands took for the same folder of results. Results of another number of threads are not
    mixed with those: a sweep that is resumed under another load would begin again.
    """
    most = min(machine.cores, torch_default)
    if before:
        return min(before, machine.cores), "as for the results that are there"
    if machine.free < most:
        return machine.free, f"the machine is busy, load {machine.load:.1f}"
    return most, "PyTorch's default"


def choose(dataset: str | None, runs: Path, torch_default: int, remember: bool = True) -> int:
    """The default on this machine, with a line on stderr where that is fewer than its cores.

    It is kept in `runs/threads` for the next command. On small images it is one thread.
    """
    file, machine = runs / "threads", this_machine()
    text = _text(file).strip()
    if small := dataset in DATASETS and math.prod(DATASETS[dataset].shape[1:]) <= SMALL:
        n, reason = 1, f"more do not help on images as small as those of {dataset}"
    else:
        n, reason = default(machine, torch_default, int(text) if text.isdecimal() else None)
    if n < machine.cores:
        print(f"{n} of {machine.cores} CPU threads ({reason}); --threads N takes another number.", file=sys.stderr)
    if remember and not small and not text:
        from ann2snn.files import write_atomic

        write_atomic(file, f"{n}\n")
    return n
