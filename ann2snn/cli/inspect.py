"""`ann2snn inspect`: how each node of a network is converted, and the neurons after calibration."""

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.neurons import SilentIF
from ann2snn.data.registry import check as check_dataset
from ann2snn.data.registry import load
from ann2snn.data.split import ImageDataset
from ann2snn.errors import UserError
from ann2snn.graph import not_convertible
from ann2snn.graph.checks import ShapeError
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.graph.report import NotConvertible
from ann2snn.methods.registry import find
from ann2snn.networks.registry import create, input_shape
from ann2snn.training import checkpoints


def inspect(options) -> int:
    """Prints the report of all nodes and, given data, of the neurons; returns 1 if a node cannot be converted."""
    if options.reasons:
        print(not_convertible.page(), end="")
        return 0
    if not options.model:
        raise UserError("No network is given: name one, as in `ann2snn inspect MODEL`.")
    method = find(options.method)
    if options.dataset:
        check_dataset(options.dataset)
    checkpoint = Path(options.model).is_file() or options.model.endswith(".pt")
    if (checkpoint or ":" in options.model) and (options.activation or options.classes):
        raise UserError("--activation and --classes are for networks that are made by name: leave them out.")
    if checkpoint:
        net, info = checkpoints.load_source(options.model)
        data, example = data_of(options, info)
    else:
        name = options.dataset
        data = name and load(name, options.data_root, accept_unofficial=options.accept_unofficial_data)
        net, example = network(options, data)
    results: dict = {"model": options.model}
    try:
        ann = prepare(net, example)
    except NotConvertible as error:
        bad = sum(row.role == "not convertible" for row in error.report)
        verdict = f"\n{options.model}: {bad} of {len(error.report)} nodes cannot be converted."
        show(options, results | {"converts": False, "nodes": nodes(error.report)}, [report(error.report), verdict])
        return 1
    except ShapeError as error:
        raise UserError(f"{str(error).rstrip('.')}; name the shape of one input with --shape C H W.") from error
    results |= {"converts": True, "nodes": nodes(ann.meta["report"])}
    text = [report(ann.meta["report"])]
    text += [f"\n{options.model}: everything converts, {len(activations(ann))} spiking layers."]
    if not data and not checkpoint:
        text += ["For thresholds, shifts and dead units name a --dataset to calibrate on."]
    if not data:
        show(options, results, text)
        return 0
    with torch.no_grad():
        outputs = ann(example).shape[-1]
    if outputs < data.classes:
        raise UserError(
            f"The network has {outputs} outputs and {data.name} has {data.classes} classes: choose --classes."
        )
    if not checkpoint:
        text += ["The weights are those that the network was created with: it was not trained here."]
    images = data.calibration(min(1024, len(data.train)))
    stats = Statistics(ann, lambda: (x for x, _ in images.batches(100)))
    title = f"{options.method}, T = {options.T}" if method.depends_on_T else options.method
    layers = spiking_layers(method(ann, stats, options.T), stats)
    calibration = {"dataset": data.name, "images": len(images)}
    results |= {"method": options.method, "T": options.T, "calibration": calibration, "layers": layers}
    text += [f"\n{title}, calibrated on {len(images)} images of {data.name}", neurons(layers)]
    show(options, results, text)
    return 0


def show(options, results: dict, text: list[str]) -> None:
    """Prints the results as JSON, or as text."""
    print(json.dumps(results, indent=2) if options.json else "\n".join(text))


def data_of(options, info: dict) -> tuple[ImageDataset | None, torch.Tensor]:
    """The dataset of a trained source and one of its images; None and noise, with a message, if it is not available."""
    try:
        data = load(info["dataset"], options.data_root, accept_unofficial=options.accept_unofficial_data)
    except UserError as error:
        print(f"Not calibrated: {error}", file=sys.stderr)
        return None, torch.randn(1, *info["shape"], generator=torch.Generator().manual_seed(0))
    if info["data_hash"] not in (None, data.hash):
        raise UserError(f"{options.model} was trained on other data than this {data.name}: train it again.")
    data = data.normalised(info.get("normalization"))
    return data, next(data.validation.batches(1))[0]


def network(options, data) -> tuple[nn.Module, torch.Tensor]:
    """The network of a name or an import path, and an example input."""
    shape = options.shape or (data.shape if data else None)
    if ":" in options.model:
        made = import_path(options.model)
        try:
            with seeded():
                net = made if isinstance(made, nn.Module) else made()
        except Exception as error:  # whatever the function does
            raise UserError(f"{options.model}() failed: {type(error).__name__}: {error}.") from error
        if not isinstance(net, nn.Module):
            raise UserError(
                f"{options.model} is a {type(net).__name__}: name a network, or a function that returns one."
            )
        shape = shape or (3, 224, 224)
    else:
        classes = options.classes or (data.classes if data else 1000)
        shape = shape or input_shape(options.model)
        activation = options.activation or "relu"
        print(f"{options.model}, made with the activation {activation}.", file=sys.stderr if options.json else None)
        with seeded():
            net = create(options.model, num_classes=classes, in_chans=shape[0], activation=activation)
    return net, torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


@contextmanager
def seeded() -> Iterator[None]:
    """Makes untrained weights the same in every run."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def report(rows) -> str:
    """The report of all nodes as a table."""
    lines = [[row.name, row.operation, row.role, row.note] for row in rows]
    headers = ["node", "operation", "role", "note"]
    return tabulate(lines, headers, maxcolwidths=[34, None, None, 60], disable_numparse=True)


def nodes(rows) -> list[dict[str, str]]:
    """The report of all nodes for JSON."""
    return [{"node": row.name, "operation": row.operation, "role": row.role, "note": row.note} for row in rows]


def spiking_layers(snn, stats) -> list[dict]:
    """Per spiking layer [min, max] of threshold, shift and start potential, and the fraction of dead units."""
    layers = []
    for module in snn.children():
        if hasattr(module, "v_th"):
            values = {"v_th": module.v_th, "shift": module.shift, "start": module.v_init}
            ranges = {name: [x.min().item() + 0.0, x.max().item() + 0.0] for name, x in values.items()}  # no -0
            fires = not isinstance(module, SilentIF)
            layers.append(
                {"layer": module.name, "fires": fires, **ranges, "dead": float(stats[module.name].dead_fraction)}
            )
    return layers


def neurons(layers: list[dict]) -> str:
    """The table of thresholds, shifts and start potentials, and of units that were never active in the ANN."""
    lines = []
    for layer in layers:
        names = ("v_th", "shift", "start")
        cells = [_range(*layer[name]) for name in names] if layer["fires"] else ["never fires", "", ""]
        lines.append([layer["layer"], *cells, f"{100 * layer['dead']:.1f} %"])
    return tabulate(lines, ["layer", "V_th", "shift", "start", "dead units"], disable_numparse=True)


def _range(low: float, high: float) -> str:
    """`0.5`, or `0.5 .. 0.7`."""
    return f"{low:.4g}" if low == high else f"{low:.4g} .. {high:.4g}"


def import_path(text: str):
    """The object of an import path `package.module:name`."""
    module, _, name = text.partition(":")
    sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise UserError(f"{text} cannot be imported: {type(error).__name__}: {error}.") from error
