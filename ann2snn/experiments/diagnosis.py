"""Errors of a conversion, layer by layer.

Three networks are compared: the ANN, the constant-rate network and the spiking network. In the constant-rate network
every layer receives the mean of its input at every step, so that only clipping and rounding are left. The paper's
theory describes the difference between the ANN and the constant-rate network, but not that between the constant-rate
and the spiking network, which depends on the timing of spikes.
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
from ann2snn.experiments.run_job import current_provenance
from ann2snn.experiments.source import SourceANN
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


class ConstantRateNeuron(nn.Module):
    """A neuron whose input is constant over T steps. Maps a mean current (B, ...) to the mean output.

    Args:
        neuron: The neuron.
        T: Number of time steps.
    """

    def __init__(self, neuron: IF, T: int):
        super().__init__()
        self.neuron = neuron
        self.T = T

    def forward(self, current: Tensor) -> Tensor:
        state, total = self.neuron.init(current), torch.zeros_like(current)
        for _ in range(self.T):
            state, spikes = self.neuron.step(state, current)
            total += spikes
        return total / self.T


def constant_rate_network(snn: fx.GraphModule, T: int) -> fx.GraphModule:
    """A converted network as one forward pass, in which every neuron receives a constant input.

    With soft reset this is the ANN with every activation quantised to T levels: the accuracy of perfect spike timing.

    Args:
        snn: The converted network; it does not change.
        T: Number of time steps.
    """
    net = fx.GraphModule(snn, copy.deepcopy(snn.graph))
    for path, neuron in neurons_by_path(snn).items():
        setattr(net, path, ConstantRateNeuron(neuron, T))
    return net


def neurons_by_path(snn: fx.GraphModule) -> dict[str, IF]:
    """The neurons of a converted network by module path, in forward order."""
    return {str(node.target): module for node, module in modules_by_node(snn).items() if isinstance(module, IF)}


def diagnose(
    source: SourceANN, T: Iterable[int], images: int = IMAGES, inside: int = 200, calibration: int = 1024
) -> dict:
    """Diagnoses the conversion of a source by the method `optimal`.

    Args:
        source: The source ANN.
        T: Numbers of time steps.
        images: Number of test images for accuracies.
        inside: Number of test images for errors of layers.
        calibration: Number of calibration images.

    Returns:
        Accuracies (shares) of the three networks and errors of all layers at every T, with the fields of `SCHEMA`.
    """
    stats, calibration_hash = source.statistics(calibration, 0)
    part, method = source.data.test.subset(range(min(images, len(source.data.test)))), find("optimal")
    x, labels = part.__getitems__(range(len(part)))

    def accuracy(predictions: Tensor) -> float:
        return (predictions.cpu() == labels).double().mean().item()

    def accuracy_of(net) -> float:
        with torch.inference_mode():
            return accuracy(torch.cat([net(batch.to(source.device)).argmax(1).cpu() for batch in x.split(100)]))

    by_T = {}
    for t in sorted(set(T)):
        snn = method(source.ann, stats, t)
        by_T[str(t)] = {
            "spiking": accuracy(simulate(snn, x, t, batch=source.batch).predictions(t)),
            "evenly": accuracy_of(constant_rate_network(snn, t)),
            "layers": [vars(layer) for layer in layer_errors(source.ann, snn, x[:inside], t)],
        }
    return {
        "source": _source_fields(source.info),
        "method": {"name": method.name, "version": method.version, "calibration": calibration},
        "images": len(part),
        "inside": min(inside, len(part)),
        "ann": accuracy_of(source.ann),
        "T": by_T,
        "provenance": current_provenance(source, calibration_hash),
    }


def _source_fields(info: dict) -> dict:
    """The fields of a source's info that identify it."""
    return {name: info[name] for name in ("dataset", "network", "activation", "recipe", "seed", "weights_hash")}


def diagnose_source(name, source, jobs, T, settings, outcome) -> None:
    """Diagnoses a source at every T in `GRID`, or finds its diagnosis below `settings.runs`. A `process` of `sweep`."""
    images = min(IMAGES, len(source.data.test))
    wanted = _source_fields(source.info), find("optimal").version, {str(t) for t in GRID}, images
    for diagnosis in load_all(settings.runs):
        if (diagnosis["source"], diagnosis["method"]["version"], {*diagnosis["T"]}, diagnosis["images"]) == wanted:
            break
    else:
        print(f"{name}: diagnosis", file=sys.stderr)
        diagnosis = diagnose(source, GRID)
        save(diagnosis, settings.runs, replace=True)
    outcome.records.append(diagnosis)


def report(diagnosis: dict) -> str:
    """A table of accuracies over T, and one of the layers at the largest T, in 80 columns."""
    grid = sorted(diagnosis["T"], key=int)
    lines = [[t, 100 * diagnosis["T"][t]["evenly"], 100 * diagnosis["T"][t]["spiking"]] for t in grid]
    title = f"Accuracy on {diagnosis['images']} test images; the ANN: {100 * diagnosis['ann']:.1f} %"
    text = [title, tabulate(lines, ["T", "constant rate", "spiking"], floatfmt=".1f")]
    layers = [
        [x["name"], x["rounding"] / x["bound"], x["total"] / x["bound"], x["spread"], x["current"],
         100 * x["silent"], 100 * x["saturated"]] for x in diagnosis["T"][grid[-1]]["layers"]
    ]  # fmt: skip
    headers = ["layer", "rounding", "total", "std z / V", "std u / V", "silent", "full (%)"]
    text += [f"\nLayers at T = {grid[-1]}, {diagnosis['inside']} images; errors in V_th^2 / (12 T^2)"]
    return "\n".join([*text, tabulate(layers, headers, floatfmt=(".1f", ".2f", ".1f", ".2f", ".2f", ".1f", ".1f"))])


def save(diagnosis: dict, root: Path | str, replace: bool = False) -> Path:
    """Writes a diagnosis below `root/diagnosis`.

    Args:
        diagnosis: What `diagnose` returned.
        root: Folder of all results.
        replace: Whether to replace a diagnosis of the same source that has further T's or more images. Without it, that
            one is kept, with a notice on stderr.

    Returns:
        Path of the file.
    """
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
    """Loads a diagnosis and checks it.

    Raises:
        DamagedFile: The file is damaged, or is not a diagnosis.
        UserError: The file cannot be read.
    """
    diagnosis = read_json(path)
    try:
        conform(diagnosis, SCHEMA, "diagnosis")
        if not diagnosis["T"] or not all(re.fullmatch("[1-9][0-9]{0,4}", T) for T in diagnosis["T"]):
            raise ValueError("it has no T")
        if not all(x["layers"] and all(layer["bound"] for layer in x["layers"]) for x in diagnosis["T"].values()):
            raise ValueError("it has no layers")
    except ValueError as error:
        raise DamagedFile(
            path, f"is not a valid diagnosis: {error}", "remove it and run the same command again"
        ) from None
    return diagnosis


def load_all(root: Path | str) -> list[dict]:
    """Loads all diagnoses below `root`, sorted by path. Damaged files are skipped with a notice on stderr."""
    diagnoses = []
    for path in sorted((Path(root) / "diagnosis").rglob("*.json")):
        try:
            diagnoses.append(load(path))
        except UserError as error:
            leave_out(error)
    return diagnoses


@dataclass
class LayerErrors:
    """Errors and activity of a spiking layer over T steps, means over images and units.

    Potentials and currents are in units of V_th. Errors are squared differences to the activation a of the ANN, in the
    unit of a.
    """

    name: str
    bound: float  # V_th^2 / (12 T^2), the error after the optimal shift for an activation uniform on [0, V_th]
    rounding: float = 0.0  # E(a' - a)^2 with the layer's input taken from the ANN
    total: float = 0.0  # E(a' - a)^2 in the spiking network
    spread: float = 0.0  # standard deviation of the ANN's pre-activation
    current: float = 0.0  # standard deviation over time of the current, root mean square over units
    silent: float = 0.0  # share of units without a spike
    saturated: float = 0.0  # share of units with a spike at every step


def layer_errors(ann: fx.GraphModule, snn: fx.GraphModule, images: Tensor | Iterable, T: int) -> list[LayerErrors]:
    """Errors of every spiking layer.

    Args:
        ann: The prepared network.
        snn: Its conversion for T steps.
        images: Images (N, C, H, W), or batches of them.
        T: Number of time steps.
    """
    neurons = neurons_by_path(snn)
    sums = {path: torch.zeros(8, dtype=torch.double) for path in neurons}
    with torch.inference_mode():
        for batch in images_of(images, 100):
            batch = batch.to(next(ann.parameters()))
            values = activation_values(ann, batch)
            over_time = {path: _SumsOverTime() for path in neurons}
            for step in step_outputs(snn, batch, T):
                for path, (current, spikes) in step.items():
                    over_time[path].add(current, spikes)
            for path, neuron in neurons.items():
                before, after = values[neuron.name]
                sums[path] += _sums_over_units(before, after, neuron, over_time[path], T)
    return [_errors(neuron, sums[path], T) for path, neuron in neurons.items()]


def _errors(neuron: IF, sums: Tensor, T: int) -> LayerErrors:
    n, z, z2, current, rounding, total, silent, saturated = sums.tolist()
    return LayerErrors(
        neuron.name,
        bound=(neuron.v_th.double() ** 2).mean().item() / (12 * T**2),
        rounding=rounding / n,
        total=total / n,
        spread=max(z2 / n - (z / n) ** 2, 0.0) ** 0.5,
        current=(current / n) ** 0.5,
        silent=silent / n,
        saturated=saturated / n,
    )


class _SumsOverTime:
    """Sums over the steps of one layer."""

    def __init__(self):
        self.current = self.squares = self.spikes = torch.zeros(())

    def add(self, current: Tensor, spikes: Tensor) -> None:
        self.current = self.current + current
        self.squares = self.squares + current.square()
        self.spikes = self.spikes + spikes


def _sums_over_units(before: Tensor, after: Tensor, neuron: IF, sums: _SumsOverTime, T: int) -> Tensor:
    """Sums over the units of a batch: count, z, z^2, variance of the current, both errors, silent, saturated."""
    v_th = neuron.v_th.expand_as(after[0])
    z, rate = before / v_th, sums.spikes / T
    variance = (sums.squares / T - (sums.current / T).square()).clamp(min=0) / v_th.square()
    silent, saturated = rate == 0, (rate / v_th - 1).abs() < 0.5 / T
    rounding = ConstantRateNeuron(neuron, T)(before) - after
    terms = (torch.ones_like(z), z, z.square(), variance, rounding.square(), (rate - after).square(), silent, saturated)
    return torch.stack([term.double().sum() for term in terms]).cpu()


def step_outputs(snn: fx.GraphModule, images: Tensor, T: int) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Simulates T steps in a plain loop. Yields current and spikes (B, ...) of every layer by module path."""
    interpreter = _StepInterpreter(snn)
    for _ in range(T):
        interpreter.outputs = {}
        interpreter.run(images)
        yield interpreter.outputs


class _StepInterpreter(fx.Interpreter):
    """Runs one step per call; the neurons keep their state between calls."""

    def __init__(self, snn: fx.GraphModule):
        super().__init__(snn)
        self.states, self.outputs = {}, {}

    def call_module(self, target, args, kwargs):
        module = self.fetch_attr(str(target))
        if not hasattr(module, "step"):
            return super().call_module(target, args, kwargs)
        if target not in self.states:
            self.states[target] = module.init(*args)
        self.states[target], spikes = module.step(self.states[target], *args)
        if isinstance(module, IF):
            self.outputs[target] = (*args, spikes)
        return spikes


def activation_values(ann: fx.GraphModule, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Input and output (B, ...) of every activation of the ANN by name, in forward order."""
    values = {}
    with capture_activations(ann, lambda module, before, after: values.update({module.name: (before, after)})):
        ann(images)
    return values
