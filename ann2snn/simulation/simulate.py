"""Runs a converted network for T time steps."""

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

BLOCK = 8  # steps
LARGEST = 500  # images of a batch
NEURONS = {"cpu": 6_100_000, "cuda": 200_000_000}  # of a batch; larger ones were slower, or do not fit


def simulate(
    snn: fx.GraphModule,
    images: Tensor | Iterable,
    T: int | None = None,
    *,
    at: Iterable[int] = (),
    batch: int | None = None,
) -> Result:
    """Runs `snn` for T steps on images (N, C, H, W), with the constant input current of every step.

    Batches of images will do, also a DataLoader's (images, labels). `T` may be left out where the network was converted
    for one. `at` asks for outputs at further steps up to T. Every batch starts from a fresh state, and what lies before
    the first neuron is computed once. Memory does not grow with T: where neurons take whole trains, fewer images are
    run at once. `batch` (by default what suits the network's size) is halved where it does not fit.
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
    block, size = T if plan.whole else BLOCK, None
    with torch.inference_mode(), full_precision(snn):
        for part in images_of(images, batch or LARGEST):
            part = check_images(snn, part)
            if batch is None:
                snn.meta["neurons"] = snn.meta.get("neurons") or plan.units(part[:1])
                batch = batch_for(snn.meta["neurons"], next(snn.parameters()).device.type)
            size = size or max(1, batch * BLOCK // max(block, BLOCK))
            while len(part):
                began = time.perf_counter()
                try:
                    found = [(*read, time.perf_counter() - began) for read in plan.run(part[:size], at, block)]
                except RuntimeError as error:
                    size = _smaller(size, error)
                    continue
                part = part[size:]
                for t, total, counts, spent in found:
                    seconds[t] += spent
                    outputs[t].append(total)
                    for name, count in counts.items():
                        events[t][name] = events[t].get(name, 0) + count
    if not outputs[T]:
        raise UserError("There are no images to simulate: give at least one.")
    latency = {t: t + plan.delay(T) for t in at}
    return Result({t: torch.cat(parts) for t, parts in outputs.items()}, events, plan.pools, seconds, latency, warmup)


def stepwise(snn: fx.GraphModule) -> Callable[[Tensor, list[int]], Iterator]:
    """`run(images, at)`: simulates images (B, C, H, W) up to the last of the steps `at`, and yields after each of them.

    All layers take a step before any takes the next one, so that neurons may change their own parameters as they go.
    """
    return functools.partial(Plan(snn).run, block=1)


def batch_for(units: int, device: str = "cpu") -> int:
    """How many images to run at once, for so many neurons in an image: what the caches of a CPU hold, one for each
    thread; on a GPU what its memory does."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    return min(LARGEST, max(torch.get_num_threads() if kind == "cpu" else 1, NEURONS[kind] // units))


def _smaller(batch: int, error: RuntimeError) -> int:
    """Half the batch, where memory was the reason."""
    memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    if not memory or batch == 1:
        raise error
    print(f"ann2snn: {batch} images do not fit into memory; going on with {batch // 2}.", file=sys.stderr)
    return batch // 2


def _steps(snn: fx.GraphModule, T: int | None) -> int:
    made_for = snn.meta.get("T")
    if T is None and made_for is None:
        raise UserError("How many steps? Pass T, such as simulate(snn, images, T=32).")
    T = steps(made_for if T is None else T)  # type: ignore[arg-type]
    if snn.meta.get("depends_on_T") and T != made_for:
        raise UserError(
            f"This network was converted for T = {made_for}: convert it again for T = {T}, "
            f"or read it `at` steps up to {made_for}."
        )
    return T
