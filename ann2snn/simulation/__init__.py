"""T steps of a converted network: it owns time and state."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalOperand=false
# pyright: reportReturnType=false
# (torch.fx types every argument and target of a node as a union of all that it could be)

import operator
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from ann2snn.calibration import check_images, images_of
from ann2snn.conversion import steps
from ann2snn.errors import UserError
from ann2snn.graph import MaxPool

BATCH = 500


@dataclass
class Result:
    """What a simulation leaves behind, at every step that was asked for.

    `outputs[t]` (N, classes) is the sum of the network's outputs over the steps 1..t (divide by t for the mean), and
    `events[t][layer]` (C, H, W) how often every unit of a layer emitted something in these steps, summed over the
    images: a neuron its spikes, a max-pool (one of `pools`) its non-zero increments.
    """

    outputs: dict[int, Tensor]
    events: dict[int, dict[str, Tensor]] = field(repr=False)
    pools: frozenset[str] = frozenset()
    seconds: dict[int, float] = field(default_factory=dict)  # wall time to reach the step, all images

    def predictions(self, t: int) -> Tensor:
        """(N,): the class of every image after t steps; ties go to the lowest class index."""
        if t not in self.outputs:
            known = ", ".join(map(str, self.outputs))
            raise UserError(
                f"This simulation was read at the steps {known}, not at {t}: ask for it with simulate(at=...)."
            )
        return self.outputs[t].argmax(1)

    def undecided(self, t: int) -> int:
        """How many images have their largest output in more than one class."""
        best = self.outputs[t].amax(1, keepdim=True)
        return int(((self.outputs[t] == best).sum(1) > 1).sum())

    def spikes(self, t: int) -> dict[str, int]:
        """Spikes per layer in the steps 1..t, summed over the images."""
        return {name: int(count.sum()) for name, count in self.events[t].items() if name not in self.pools}


def simulate(
    snn: fx.GraphModule,
    images: Tensor | Iterable,
    T: int | None = None,
    *,
    at: Iterable[int] = (),
    batch: int = BATCH,
) -> Result:
    """Runs `snn` for T steps on images (N, C, H, W), with the constant input current of every step.

    Batches of images will do, also a DataLoader's (images, labels). `T` may be left out where the network was converted
    for one. `at` asks for outputs at further steps up to T. Every batch starts from a fresh state, and what lies before
    the first neuron is computed once. Memory does not grow with T.
    """
    T = _steps(snn, T)
    at = sorted({T, *at})
    if at[0] < 1 or at[-1] > T:
        raise UserError(f"Outputs can be read at the steps 1 to T = {T}, not at {[t for t in at if not 1 <= t <= T]}.")
    plan = _Plan(snn)
    if not plan.emitters:
        raise UserError("This network has no spiking neurons: call convert(ann, method, calibration_images, T) first.")
    outputs: dict[int, list[Tensor]] = {t: [] for t in at}
    events: dict[int, dict[str, Tensor]] = {t: {} for t in at}
    seconds = dict.fromkeys(at, 0.0)
    with torch.inference_mode():
        for part in images_of(images, batch):
            began = time.perf_counter()
            for t, total, counts in plan.run(check_images(snn, part), at):
                seconds[t] += time.perf_counter() - began
                outputs[t].append(total)
                for name, count in counts.items():
                    events[t][name] = events[t].get(name, 0) + count
    if not outputs[T]:
        raise UserError("There are no images to simulate: give at least one.")
    return Result({t: torch.cat(parts) for t, parts in outputs.items()}, events, plan.pools, seconds)


def _steps(snn: fx.GraphModule, T: int | None) -> int:
    made_for = snn.meta.get("T")
    if T is None and made_for is None:
        raise UserError("How many steps? Pass T, such as simulate(snn, images, T=32).")
    T = steps(made_for if T is None else T)
    if snn.meta.get("depends_on_T") and T != made_for:
        raise UserError(
            f"This network was converted for T = {made_for}: convert it again for T = {T}, "
            f"or read it `at` steps up to {made_for}."
        )
    return T


class _Plan:
    """The nodes of a converted network in two lists: computed once a batch, and changing from step to step."""

    def __init__(self, snn: fx.GraphModule):
        self.snn = snn
        self.modules = {n: snn.get_submodule(n.target) for n in snn.graph.nodes if n.op == "call_module"}
        self.once, self.each, changing = [], [], set()
        for node in snn.graph.nodes:
            starts = hasattr(self.modules.get(node), "step") and not isinstance(self.modules[node], MaxPool)
            if starts or changing.intersection(node.all_input_nodes):
                changing.add(node)
            (self.each if node in changing else self.once).append(node)
        self.emitters = {n: self.modules[n].name for n in self.each if hasattr(self.modules.get(n), "step")}
        self.pools = frozenset(self.modules[n].name for n in self.emitters if isinstance(self.modules[n], MaxPool))

    def run(self, images: Tensor, at: list[int]) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
        """(t, accumulated output (B, classes), events per unit and layer) of one batch, at every t of `at`."""
        images = images.to(next(self.snn.parameters()))
        if images.dim() == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        env: dict[fx.Node, Tensor] = {}
        for node in self.once:
            env[node] = images if node.op == "placeholder" else self.value(node, env)
        state: dict[fx.Node, Any] = {}
        counts: dict[str, Tensor] = {}
        total = None
        for t in range(1, at[-1] + 1):
            for node in self.each:
                if node in self.emitters:
                    module, current, name = self.modules[node], env[node.args[0]], self.emitters[node]
                    before = state[node] if t > 1 else module.init(current)
                    state[node], env[node] = module.step(before, current)
                    fired = (env[node] != 0).sum(0)
                    counts[name] = counts[name] + fired if t > 1 else fired
                elif node.op == "output":
                    total = env[node.args[0]] if t == 1 else total + env[node.args[0]]
                else:
                    env[node] = self.value(node, env)
            if t in at:
                yield t, total, dict(counts)

    def value(self, node: fx.Node, env: dict[fx.Node, Tensor]) -> Tensor:
        if node.op == "get_attr":
            return operator.attrgetter(node.target)(self.snn)
        arguments, keywords = fx.map_arg((node.args, node.kwargs), env.__getitem__)
        return self.modules.get(node, node.target)(*arguments, **keywords)
