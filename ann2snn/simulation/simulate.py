"""Simulation of a converted network for T time steps."""

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, fx

from ann2snn.calibration.images import check_images, full_precision, images_of
from ann2snn.conversion.time_steps import steps
from ann2snn.errors import UserError
from ann2snn.simulation.plan import Plan
from ann2snn.simulation.result import Result

STEPS_PER_BLOCK = 8
MAX_BATCH = 500  # images
NEURONS_PER_BATCH = {"cpu": 6_100_000, "cuda": 200_000_000}  # larger batches were slower, or do not fit into memory


def simulate(
    snn: fx.GraphModule,
    images: Tensor | Iterable,
    T: int | None = None,
    *,
    at: Iterable[int] = (),
    batch: int | None = None,
) -> Result:
    """Simulate a converted network for T time steps, with the images as constant input currents.

    Layers before the first neuron are computed once per batch. Memory does not grow with T: if a layer receives all
    steps at once, batches are smaller.

    Args:
        snn: The network from `convert`.
        images: (N, C, H, W), or an iterable of batches; a batch may be a pair (images, labels) of a DataLoader.
        T: Number of steps. It can be omitted if the network was converted for one T.
        at: Further steps up to T at which outputs are read.
        batch: Number of images that are run at once, by default one that suits the size of the network. It is halved
            if it does not fit into memory.

    Returns:
        Outputs, spike counts and latency at every step of `at`, and at T.

    Raises:
        UserError: `snn` is not a converted network, the images do not fit it, or a step cannot be read.
    """
    if not isinstance(snn, fx.GraphModule):
        raise UserError(
            f"simulate takes a converted network, not {type(snn).__name__}: call prepare and convert first."
        )
    if not isinstance(at, Iterable) or (batch is not None and batch < 1):
        raise UserError(f"`at` is a list of steps and `batch` a number of images, not {at!r} and {batch!r}.")
    T = _steps(snn, T)
    at = sorted({T, *at})
    warmup = snn.meta.get("warmup", 0)
    if at[0] <= warmup or at[-1] > T:
        wrong = [t for t in at if not warmup < t <= T]
        raise UserError(f"Outputs can be read at the steps {warmup + 1} to T = {T}, not at {wrong}.")
    plan = Plan(snn)
    outputs: dict[int, list[Tensor]] = {t: [] for t in at}
    events: dict[int, dict[str, Tensor]] = {t: {} for t in at}
    seconds = dict.fromkeys(at, 0.0)
    block, size = T if plan.has_multi_step else STEPS_PER_BLOCK, None
    with torch.inference_mode(), full_precision(snn):
        for part in images_of(images, batch or MAX_BATCH):
            part = check_images(snn, part)
            if batch is None:
                snn.meta["neurons"] = snn.meta.get("neurons") or plan.units(part[:1])
                batch = batch_for(snn.meta["neurons"], next(snn.parameters()).device.type)
            size = size or max(1, batch * STEPS_PER_BLOCK // max(block, STEPS_PER_BLOCK))
            while len(part):
                began = time.perf_counter()
                try:
                    reads = [(*read, time.perf_counter() - began) for read in plan.run(part[:size], at, block)]
                except RuntimeError as error:
                    size = _smaller(size, error)
                    continue
                part = part[size:]
                for t, total, counts, spent in reads:
                    seconds[t] += spent
                    outputs[t].append(total)
                    for name, count in counts.items():
                        events[t][name] = events[t].get(name, 0) + count
    if not outputs[T]:
        raise UserError("There are no images to simulate: give at least one.")
    latency = {t: t + plan.delay(T) for t in at}
    return Result({t: torch.cat(parts) for t, parts in outputs.items()}, events, plan.pools, seconds, latency, warmup)


def stepwise(snn: fx.GraphModule) -> Callable[[Tensor, list[int]], Iterator]:
    """A simulation in which all layers finish a step before any layer begins the next one.

    Neurons may change their own parameters during the simulation.

    Returns:
        A function `run(images, at)`, which simulates images (B, C, H, W) and yields after every step of the list `at`.
    """
    return functools.partial(Plan(snn).run, block=1)


def batch_for(units: int, device: str = "cpu") -> int:
    """Number of images to run at once, at least one per CPU thread.

    Args:
        units: Number of neurons of the network.
        device: "cpu", where a batch should fit into the caches, or "cuda", where it should fit into the memory.
    """
    kind = "cuda" if device.startswith("cuda") else "cpu"
    return min(MAX_BATCH, max(torch.get_num_threads() if kind == "cpu" else 1, NEURONS_PER_BATCH[kind] // units))


def _smaller(batch: int, error: RuntimeError) -> int:
    """Half the batch after an out-of-memory error; other errors are raised again."""
    is_memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    if not is_memory or batch == 1:
        raise error
    print(f"ann2snn: {batch} images do not fit into memory; continuing with {batch // 2}.", file=sys.stderr)
    return batch // 2


def _steps(snn: fx.GraphModule, T: int | None) -> int:
    converted_for = snn.meta.get("T")
    if T is None and converted_for is None:
        raise UserError("How many steps? Pass T, such as simulate(snn, images, T=32).")
    T = steps(converted_for if T is None else T)  # type: ignore[arg-type]
    if snn.meta.get("depends_on_T") and converted_for != T:
        raise UserError(
            f"This network was converted for T = {converted_for}: convert it again for T = {T}, "
            f"or read it `at` steps up to {converted_for}."
        )
    return T
