"""Errors of a conversion, explained layer by layer.

Three networks stand side by side: the ANN; the converted network *evenly timed*, in which every layer gets the mean of
its input at every step, so that all that is left is clipping and rounding; and the spiking one, in which spikes come
when they come. ANN against evenly timed is what the paper's theory is about, evenly timed against spiking is not.
"""

import copy
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

import torch
from tabulate import tabulate
from torch import Tensor, fx, nn

from ann2snn.calibration.hooks import capture_activations
from ann2snn.calibration.images import images_of
from ann2snn.conform import ANY, conform
from ann2snn.conversion.neurons import IF
from ann2snn.errors import UserError
from ann2snn.experiments.run_job import place_of
from ann2snn.experiments.source import Source
from ann2snn.files import slug, write_atomic
from ann2snn.graph.network import modules_by_node
from ann2snn.methods.registry import find
from ann2snn.reading import DamagedFile, leave_out, load_or_put_aside, read_json
from ann2snn.simulation.simulate import simulate

GRID, IMAGES = (4, 8, 16, 32), 1000
SCHEMA = {
    "source": dict.fromkeys(("dataset", "network", "activation", "recipe", "weights_hash"), str)
    | {"seed": (int, NoneType)},
    "method": {"name": str, "version": int, "calibration": int},
    "images": int,
    "inside": int,
    "ann": float,
    "T": {
        ANY: {
            "spiking": float,
            "evenly": float,
            "layers": [
                {"name": str}
                | dict.fromkeys(("bound", "rounding", "total", "spread", "current", "silent", "saturated"), float)
            ],
        }
    },
}


class Evenly(nn.Module):
    """A neuron that is fed the mean of its input at every one of T steps, and gives the mean of its output."""

    def __init__(self, neuron: IF, T: int):
        super().__init__()
        self.neuron, self.T = neuron, T

    def forward(self, current: Tensor) -> Tensor:
        state, total = self.neuron.init(current), torch.zeros_like(current)
        for _ in range(self.T):
            state, spikes = self.neuron.step(state, current)
            total += spikes
        return total / self.T


def evenly_timed(snn: fx.GraphModule, T: int) -> fx.GraphModule:
    """The converted network as one forward pass: every layer sees the mean of the layer before, at every step.

    With soft reset this is the ANN with every activation quantised to T levels: the accuracy of perfect spike timing.
    """
    net = fx.GraphModule(snn, copy.deepcopy(snn.graph))
    for name, neuron in neurons(snn).items():
        setattr(net, name, Evenly(neuron, T))
    return net


def neurons(snn: fx.GraphModule) -> dict[str, IF]:
    """The neurons of a converted network by their place in it, in the order of the network."""
    return {str(node.target): module for node, module in modules_by_node(snn).items() if isinstance(module, IF)}


def diagnose(
    source: Source, T: Iterable[int], images: int = IMAGES, inside: int = 200, calibration: int = 1024
) -> dict:
    """What `optimal` makes of a `sources.Source`: accuracies of the ANN, evenly timed and spiking on the first test
    images (shares), and all layers on the first `inside` of them, at every T."""
    stats, calibration_hash = source.statistics(calibration, 0)
    part, method = source.data.test.subset(range(min(images, len(source.data.test)))), find("optimal")
    x, labels = part.__getitems__(range(len(part)))

    def right(net) -> float:
        with torch.inference_mode():
            found = torch.cat([net(batch.to(source.device)).argmax(1).cpu() for batch in x.split(100)])
        return (found == labels).double().mean().item()

    found = {}
    for t in sorted(set(T)):
        snn = method(source.ann, stats, t)
        spiking = (simulate(snn, x, t, batch=source.batch).predictions(t).cpu() == labels).double().mean().item()
        inner = [vars(layer) for layer in layers(source.ann, snn, x[:inside], t)]
        found[str(t)] = {"spiking": spiking, "evenly": right(evenly_timed(snn, t)), "layers": inner}
    return {
        "source": _made(source.info),
        "method": {"name": method.name, "version": method.version, "calibration": calibration},
        "images": len(part),
        "inside": min(inside, len(part)),
        "ann": right(source.ann),
        "T": found,
        "provenance": place_of(source, calibration_hash),
    }


def _made(info: dict) -> dict:
    """What tells a source from all others."""
    return {name: info[name] for name in ("dataset", "network", "activation", "recipe", "seed", "weights_hash")}


def diagnose_source(name, source, jobs, T, settings, outcome) -> None:
    """What `pipeline.sweep` does with a source where its layers are asked for: a diagnosis, unless there is one."""
    made = _made(source.info), find("optimal").version, {str(t) for t in GRID}, min(IMAGES, len(source.data.test))
    known = (
        d for d in load_all(settings.runs) if (d["source"], d["method"]["version"], {*d["T"]}, d["images"]) == made
    )
    if (found := next(known, None)) is None:
        print(f"{name}: diagnosis", file=sys.stderr)
        save(found := diagnose(source, GRID), settings.runs, replace=True)
    outcome.records.append(found)


def report(diagnosis: dict) -> str:
    """Accuracies over T, and the layers at the largest T, in 80 columns."""
    grid = sorted(diagnosis["T"], key=int)
    lines = [[t, 100 * diagnosis["T"][t]["evenly"], 100 * diagnosis["T"][t]["spiking"]] for t in grid]
    title = f"Accuracy on {diagnosis['images']} test images; the ANN: {100 * diagnosis['ann']:.1f} %"
    text = [title, tabulate(lines, ["T", "evenly timed", "spiking"], floatfmt=".1f")]
    inner = [
        [x["name"], x["rounding"] / x["bound"], x["total"] / x["bound"], x["spread"], x["current"],
         100 * x["silent"], 100 * x["saturated"]] for x in diagnosis["T"][grid[-1]]["layers"]
    ]  # fmt: skip
    heads = ["layer", "rounding", "total", "std z / V", "std u / V", "silent", "full (%)"]
    text += [f"\nLayers at T = {grid[-1]}, {diagnosis['inside']} images; errors in V_th^2 / (12 T^2)"]
    return "\n".join([*text, tabulate(inner, heads, floatfmt=(".1f", ".2f", ".1f", ".2f", ".2f", ".1f", ".1f"))])


def save(diagnosis: dict, root: Path | str, replace: bool = False) -> Path:
    """Writes it below `root/diagnosis`. Without `replace`, one of the source with other T's or more images stays."""
    source = diagnosis["source"]
    parts = [source["network"], source["activation"], source["recipe"]]
    parts += [] if source["seed"] is None else [f"seed{source['seed']}"]
    path = Path(root) / "diagnosis" / slug(source["dataset"]) / f"{'-'.join(map(slug, parts))}.json"
    if not replace and (old := load_or_put_aside(path, load)):
        comparable = (old["source"], old["method"]) == (source, diagnosis["method"])
        if comparable and (old["T"].keys() - diagnosis["T"].keys() or old["images"] > diagnosis["images"]):
            grid = ", ".join(sorted(old["T"], key=int))
            print(f"{path} is kept: it has T = {grid} and {old['images']:,} images.", file=sys.stderr)
            return path
    write_atomic(path, json.dumps(diagnosis, indent=1) + "\n")
    return path


def load(path: Path) -> dict:
    """The diagnosis in a file. UserError: it cannot be read, is damaged, or is no diagnosis."""
    found = read_json(path)
    try:
        conform(found, SCHEMA, "diagnosis")
        if not found["T"] or not all(re.fullmatch("[1-9][0-9]{0,4}", T) for T in found["T"]):
            raise ValueError("it has no T")
        if not all(at["layers"] and all(x["bound"] for x in at["layers"]) for at in found["T"].values()):
            raise ValueError("it has no layers")
    except ValueError as error:
        raise DamagedFile(
            path, f"is not a valid diagnosis: {error}", "remove it and run the same command again"
        ) from None
    return found


def load_all(root: Path | str) -> list[dict]:
    """All diagnoses below `root`, by path; a damaged file is left out and named on stderr."""
    found = []
    for path in sorted((Path(root) / "diagnosis").rglob("*.json")):
        try:
            found.append(load(path))
        except UserError as error:
            leave_out(error)
    return found


@dataclass
class Layer:
    """What a spiking layer does over T steps, as means over images and units. Potentials and currents are in units of
    V_th, errors are squared differences to the ANN's activation in its own unit."""

    name: str
    bound: float  # V_th^2 / (12 T^2): what the optimal shift leaves where the activation is uniform on [0, V_th]
    rounding: float = 0.0  # E(a' - a)^2, the layer's input taken from the ANN
    total: float = 0.0  # E(a' - a)^2 in the spiking network
    spread: float = 0.0  # standard deviation of the ANN's pre-activation
    current: float = 0.0  # standard deviation over time of a unit's current, root mean square over units
    silent: float = 0.0  # share of units without a spike
    saturated: float = 0.0  # share of units with a spike at every step


def layers(ann: fx.GraphModule, snn: fx.GraphModule, images: Tensor | Iterable, T: int) -> list[Layer]:
    """Every spiking layer of `snn`, made from `ann` for T steps, on images (N, C, H, W) or batches of them."""
    found = neurons(snn)
    out = {name: Layer(n.name, (n.v_th.double() ** 2).mean().item() / (12 * T**2)) for name, n in found.items()}
    sums = {name: torch.zeros(8, dtype=torch.double) for name in found}
    with torch.inference_mode():
        for batch in images_of(images, 100):
            batch = batch.to(next(ann.parameters()))
            passed = through(ann, batch)
            seen = {name: _Train() for name in found}
            for step in steps(snn, batch, T):
                for name, (current, spikes) in step.items():
                    seen[name].see(current, spikes)
            for name, neuron in found.items():
                before, after = passed[neuron.name]
                sums[name] += _sums(before, after, neuron, seen[name], T)
    for name, layer in out.items():
        n, z, z2, current, rounding, total, silent, saturated = sums[name].tolist()
        layer.spread = max(z2 / n - (z / n) ** 2, 0.0) ** 0.5
        layer.current = (current / n) ** 0.5
        layer.rounding, layer.total = rounding / n, total / n
        layer.silent, layer.saturated = silent / n, saturated / n
    return list(out.values())


class _Train:
    """Sums over the steps of one layer."""

    def __init__(self):
        self.current = self.squares = self.spikes = torch.zeros(())

    def see(self, current: Tensor, spikes: Tensor) -> None:
        self.current = self.current + current
        self.squares = self.squares + current.square()
        self.spikes = self.spikes + spikes


def _sums(before: Tensor, after: Tensor, neuron: IF, train: _Train, T: int) -> Tensor:
    """Over the units of a batch: how many, z, z^2, the variance of the current, both errors, silent, saturated."""
    v_th = neuron.v_th.expand_as(after[0])
    z, rate = before / v_th, train.spikes / T
    variance = (train.squares / T - (train.current / T).square()).clamp(min=0) / v_th.square()
    silent, saturated = rate == 0, (rate / v_th - 1).abs() < 0.5 / T
    rounding = Evenly(neuron, T)(before) - after
    parts = (torch.ones_like(z), z, z.square(), variance, rounding.square(), (rate - after).square(), silent, saturated)
    return torch.stack([part.double().sum() for part in parts]).cpu()


def steps(snn: fx.GraphModule, images: Tensor, T: int) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """The plain loop over T: at every step the current and the spikes (B, ...) of every layer of neurons, by place."""
    walk = _Step(snn)
    for _ in range(T):
        walk.seen = {}
        walk.run(images)
        yield walk.seen


class _Step(fx.Interpreter):
    """One step of a network whose neurons keep their state from one call to the next."""

    def __init__(self, snn: fx.GraphModule):
        super().__init__(snn)
        self.states, self.seen = {}, {}

    def call_module(self, target, args, kwargs):
        module = self.fetch_attr(str(target))
        if not hasattr(module, "step"):
            return super().call_module(target, args, kwargs)
        if target not in self.states:
            self.states[target] = module.init(*args)
        self.states[target], out = module.step(self.states[target], *args)
        if isinstance(module, IF):
            self.seen[target] = (*args, out)
        return out


def through(ann: fx.GraphModule, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """What goes into every activation of the ANN and what comes out, by name, in the order of the network."""
    found = {}
    with capture_activations(ann, lambda module, before, after: found.update({module.name: (before, after)})):
        ann(images)
    return found
