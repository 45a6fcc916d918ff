"""One profile on several machines or devices: whose sources are whose, and a process for each device."""

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from ann2snn import interrupts
from ann2snn.errors import UserError
from ann2snn.experiments.estimate import simulation_work, training_work, trainings
from ann2snn.experiments.sweep import Sweep

TRAINING, STEP = 3, 0.5  # what an image costs, and a step of one, in forward passes of the ANN


def take(parts: list[Sweep], shards: list[tuple[int, int]]) -> list[Sweep]:
    """The parts, of one source each, of shard i of n; a second (i, n) splits that shard again.

    Nothing is trained by two shards: sources that start from the same one stay together. Weighed by work, not by
    records, so that every machine with this code splits alike.
    """
    for i, n in shards:
        work, seen = defaultdict(float), set()
        for part in parts:
            unit = _unit(part)
            work[unit] += STEP * len(part.calibration_seeds) * sum(simulation_work(part, m) for m, _ in part.methods)
            for source, cost in _trainings(part):
                if source not in seen:
                    seen.add(source)
                    work[unit] += TRAINING * cost
        mine = _split(work, n)[i - 1]
        parts = [part for part in parts if _unit(part) in mine]
    return parts


def _trainings(part: Sweep) -> list[tuple[tuple, int]]:
    """(source, work) of the training of a part's source, and of those that it starts from."""
    (network, activation, seed), dataset = next(part.sources()), part.dataset
    if seed is None:
        return [((dataset, network, activation, part.recipe, None), 0)]
    steps = trainings(dataset, network, activation, part.recipe)
    return [((dataset, net, act, plan.key, seed), training_work(dataset, net, plan)) for net, act, plan in steps]


def _unit(part: Sweep) -> tuple:
    """The source whose training needs no other."""
    return _trainings(part)[-1][0]


def _split(work: dict[tuple, float], n: int) -> list[set[tuple]]:
    """n sets of about the same work: the largest first, each to whom has least."""
    sets, loads = [set() for _ in range(n)], [0.0] * n
    for unit in sorted(work, key=lambda unit: -work[unit]):
        least = min(range(n), key=lambda k: (loads[k], len(sets[k])))
        sets[least].add(unit)
        loads[least] += work[unit]
    return sets


@interrupts.raise_on_interrupt()
def on_devices(devices: list[str], arguments: list[str]) -> list[str]:
    """Runs the command once for each device, with a shard each, and returns the devices whose process failed.

    What they say on stderr is passed on behind the device's name. However this function ends, no process is left: a
    SIGTERM counts as Ctrl-C.
    """
    environments, children, readers = [_environment(device) for device in devices], [], []
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for k, (device, environment) in enumerate(zip(devices, environments, strict=True), 1):
            share = ["--device", device.partition(":")[0], "--shard", f"{k}/{len(devices)}"]
            with _uninterrupted():  # a process that has begun is one that can be stopped
                child = subprocess.Popen(
                    [sys.executable, "-m", "ann2snn", *arguments, *share],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    process_group=0,  # Ctrl-C reaches this process alone, which stops the others
                )
                children.append(child)
                readers.append(Thread(target=_pass_on, args=(device, child.stderr)))
                readers[-1].start()
        return [device for device, child in zip(devices, children, strict=True) if child.wait()]
    finally:
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        for child in children:
            child.wait()
        for reader in readers:
            reader.join()
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end."""
    came = []
    before = {
        kind: signal.signal(kind, lambda number, _: came.append(number)) for kind in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
    if came:
        raise KeyboardInterrupt


def _pass_on(device: str, lines) -> None:
    with lines:
        for line in lines:
            print(f"{device} | {line}", end="", file=sys.stderr, flush=True)


def _environment(device: str) -> dict[str, str]:
    """In which `cuda` is this device. UserError for a number that this machine has not."""
    kind, _, number = device.partition(":")
    if not number:
        return dict(os.environ)
    import torch

    if int(number) >= (n := torch.cuda.device_count()):
        raise UserError(f"There is no {device}: torch can use {n} CUDA devices of this machine, numbered from 0.")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return os.environ | {"CUDA_VISIBLE_DEVICES": visible.split(",")[int(number)] if visible else number}
