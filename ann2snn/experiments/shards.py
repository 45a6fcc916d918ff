"""Splits the sources of a profile over machines or devices, and runs one process per device."""

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
from ann2snn.experiments.estimate import simulation_work, training_chain, training_work
from ann2snn.experiments.sweep import Sweep

TRAINING_COST = 3  # of an image in a training, in forward passes of the ANN
STEP_COST = 0.5  # of an image-step in a simulation, in forward passes of the ANN


def select_shard(parts: list[Sweep], shards: list[tuple[int, int]]) -> list[Sweep]:
    """Selects the parts of one shard.

    Sources that start from the same one stay together, so that nothing is trained twice. Shards are balanced by
    estimated work. The estimate does not depend on records, so that every machine with this code splits alike.

    Args:
        parts: Sweeps of one source each.
        shards: (i, n) for shard i of n, from 1; further pairs split that shard again.
    """
    for i, n in shards:
        work: dict[tuple, float] = defaultdict(float)
        counted = set()
        for part in parts:
            unit = _unit(part)
            steps = sum(simulation_work(part, method) for method, _ in part.methods)
            work[unit] += STEP_COST * len(part.calibration_seeds) * steps
            for source, cost in _trainings(part):
                if source not in counted:
                    counted.add(source)
                    work[unit] += TRAINING_COST * cost
        mine = _split(work, n)[i - 1]
        parts = [part for part in parts if _unit(part) in mine]
    return parts


def _trainings(part: Sweep) -> list[tuple[tuple, int]]:
    """(source, work) of the training of a part's source, then of the sources that it warm-starts from."""
    (network, activation, seed), dataset = next(part.sources()), part.dataset
    if seed is None:
        return [((dataset, network, activation, part.recipe, None), 0)]
    steps = training_chain(dataset, network, activation, part.recipe)
    return [((dataset, net, act, plan.key, seed), training_work(dataset, net, plan)) for net, act, plan in steps]


def _unit(part: Sweep) -> tuple:
    """The last source of that chain. Parts that share it belong to the same shard."""
    return _trainings(part)[-1][0]


def _split(work: dict[tuple, float], n: int) -> list[set[tuple]]:
    """Splits units into n sets of similar work: the largest unit first, each into the set with the least work."""
    sets, loads = [set() for _ in range(n)], [0.0] * n
    for unit in sorted(work, key=lambda unit: -work[unit]):
        least = min(range(n), key=lambda k: (loads[k], len(sets[k])))
        sets[least].add(unit)
        loads[least] += work[unit]
    return sets


@interrupts.raise_on_interrupt()
def run_on_devices(devices: list[str], arguments: list[str]) -> list[str]:
    """Runs a command once per device, each with its own shard.

    Their stderr is passed on with the name of the device before each line. All processes have ended when this function
    returns or raises; SIGTERM counts as Ctrl-C.

    Args:
        devices: Such as "cuda:0".
        arguments: Of the `ann2snn` command.

    Returns:
        The devices whose process failed.
    """
    environments, children, readers = [_environment(device) for device in devices], [], []
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for k, (device, environment) in enumerate(zip(devices, environments, strict=True), 1):
            share = ["--device", device.partition(":")[0], "--shard", f"{k}/{len(devices)}"]
            with _uninterrupted():  # between the start of a process and its entry in `children`
                child = subprocess.Popen(
                    [sys.executable, "-m", "ann2snn", *arguments, *share],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    process_group=0,  # Ctrl-C reaches only this process, which stops the others
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
    """Delays Ctrl-C and SIGTERM until the end of the context."""
    received = []
    before = {
        kind: signal.signal(kind, lambda number, _: received.append(number)) for kind in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
    if received:
        raise KeyboardInterrupt


def _pass_on(device: str, lines) -> None:
    with lines:
        for line in lines:
            print(f"{device} | {line}", end="", file=sys.stderr, flush=True)


def _environment(device: str) -> dict[str, str]:
    """The environment variables of a process whose only CUDA device is this one.

    Raises:
        UserError: The machine has no device of this number.
    """
    _, _, number = device.partition(":")
    if not number:
        return dict(os.environ)
    import torch

    n = torch.cuda.device_count()
    if int(number) >= n:
        raise UserError(f"There is no {device}: torch can use {n} CUDA devices of this machine, numbered from 0.")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return os.environ | {"CUDA_VISIBLE_DEVICES": visible.split(",")[int(number)] if visible else number}
