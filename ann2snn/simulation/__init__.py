"""T steps of a converted network: it owns time and state."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from ann2snn.calibration import check_images, full_precision, images_of
from ann2snn.conversion import steps
from ann2snn.errors import UserError
from ann2snn.simulation import native
from ann2snn.simulation.plan import Plan

BLOCK = 8  # steps
LARGEST = 500  # images of a batch
NEURONS = {"cpu": 6_100_000, "cuda": 200_000_000}  # of a batch; larger ones were slower, or do not fit


def engine(device: str) -> str:
    """What computes there: "C" (the compiled layers), or "PyTorch" where they could not be compiled; "CUDA"."""
    return "CUDA" if device != "cpu" else "C" if native.library() else "PyTorch"


@dataclass
class Result:
    """What a simulation leaves behind, at every step that was asked for.

    `outputs[t]` (N, classes), or (N, classes, H, W) of a network that classifies pixels, is the sum of the network's
    outputs over the steps 1..t, without a method's warm-up (`mean(t)` divides it by their number), and `latency[t]` how
    many steps pass until it is known. `events[t][layer]` (C, H, W) is how often every unit of a layer emitted something
    in these steps, summed over the images: a neuron its spikes, a max-pool (one of `pools`) its non-zero increments.
    Where a method takes `t`, the default is the last step that was read.
    """

    outputs: dict[int, Tensor]
    events: dict[int, dict[str, Tensor]] = field(repr=False)
    pools: frozenset[str] = frozenset()
    seconds: dict[int, float] = field(default_factory=dict)  # wall time to reach the step, all images
    latency: dict[int, int] = field(default_factory=dict)  # t, and what neurons wait that take a whole train
    warmup: int = 0  # steps before the read-out begins

    def mean(self, t: int | None = None) -> Tensor:
        """(N, classes, ...): the mean output of the steps that are read."""
        t, total = self._read(t)
        return total / (t - self.warmup)

    def predictions(self, t: int | None = None) -> Tensor:
        """(N,) or (N, H, W): the class after t steps, the largest output; ties go to the lowest class index."""
        return self._read(t)[1].argmax(1)

    def accuracy(self, labels: Tensor, t: int | None = None) -> float:
        """The share of predictions that equal `labels` (N,) or (N, H, W), from 0 to 1.

        Raises:
            UserError: `labels` has another shape than the predictions.
        """
        found, labels = self.predictions(t).cpu(), torch.as_tensor(labels).cpu()
        if found.shape != labels.shape:
            raise UserError(f"There are predictions {tuple(found.shape)}, and labels {tuple(labels.shape)}.")
        return (found == labels).double().mean().item()

    def undecided(self, t: int | None = None) -> int:
        """How many predictions have their largest output in more than one class."""
        total = self._read(t)[1]
        return int(((total == total.amax(1, keepdim=True)).sum(1) > 1).sum())

    def _read(self, t: int | None) -> tuple[int, Tensor]:
        t = max(self.outputs) if t is None else t
        if t not in self.outputs:
            known = ", ".join(map(str, self.outputs))
            raise UserError(
                f"This simulation was read at the steps {known}, not at {t}: ask for it with simulate(at=...)."
            )
        return t, self.outputs[t]

    def spikes(self, t: int | None = None) -> dict[str, int]:
        """Spikes per layer in the steps 1..t, summed over the images."""
        t, _ = self._read(t)
        return {name: int(count.sum()) for name, count in self.events[t].items() if name not in self.pools}


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
