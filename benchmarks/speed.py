"""How fast the simulator is: ratios measured in one run, in interleaved rounds, kept as records that name the machine.

`python -m ann2snn.benchmarks.speed` measures everything and writes `results/speed/`; name experiments to measure some.
Unit of every ratio: one forward pass of the same ANN per image and step, at its fastest (batch size, memory layout,
eager or compiled; batch norm folded; as many threads).
"""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.exit_on_interrupt(interrupts.RESTARTS)  # before anything else is imported

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import NoneType

import torch
from tabulate import tabulate
from torch import Tensor, fx, nn

from ann2snn.calibration.statistics import Statistics
from ann2snn.conform import conform
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments import presets
from ann2snn.experiments.source import SourceANN
from ann2snn.files import slug, write_atomic
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.methods.registry import find
from ann2snn.metrics.operations import costs
from ann2snn.networks.registry import create
from ann2snn.reading import DamagedFile, leave_out, read_json
from ann2snn.records.provenance import provenance
from ann2snn.simulation import c_build, c_library
from ann2snn.simulation.layers import NativeIFLayer
from ann2snn.simulation.plan import Plan
from ann2snn.simulation.simulate import simulate
from ann2snn.training import checkpoints, lightning_module, pretrained, recipes
from ann2snn.training.source_info import source_info

NETWORKS = {  # name: (classes, side of an image, images simulated, batches of the ANN that are tried)
    "cifar_resnet20": (10, 32, 96, (50, 100, 500)),
    "deng_vgg16": (10, 32, 42, (50, 100, 500)),
    "mobilenetv2_100": (1000, 224, 4, (4, 8, 16)),
}
ROUNDS = 5
PUBLIC = pretrained.CHECKPOINTS["resnet20-akamaster"]


class Case:
    """A network with images and its fastest forward pass; n of the images are simulated."""

    weights = "random weights and images"

    def __init__(self, name: str, net: nn.Module, images: Tensor, n: int = 64, batches: tuple[int, ...] = (50, 100)):
        self.name, self.images, self.n, self.batches = name, images, n, batches
        self.ann = prepare(net.eval(), images[:1])
        self.statistics = Statistics(self.ann, lambda: images.split(50))

    @classmethod
    def named(cls, name: str, where: argparse.Namespace) -> "Case":
        """One of NETWORKS: ResNet-20 with public weights where `where.runs` has them, else as it was initialised."""
        classes, side, n, batches = NETWORKS[name]
        if name == "cifar_resnet20" and where.runs:
            data = load("cifar10", where.data_root, accept_unofficial=True)
            path = pretrained.find(where.runs, PUBLIC.dataset, PUBLIC.network, PUBLIC.activation, PUBLIC.recipe)
            source = SourceANN(data, path)
            images, calibration = (
                next(part.batches(max(batches)))[0] for part in (source.data.test, source.data.train)
            )
            case = cls(name, source.net, images, n, batches)
            case.statistics, case.weights = (
                Statistics(case.ann, lambda: calibration.split(50)),
                "public weights, CIFAR-10",
            )
            return case
        return cls.untrained(name, classes, side, n, batches)

    @classmethod
    def untrained(cls, name: str, classes: int = 10, side: int = 32, n: int = 64, batches=(50, 100)) -> "Case":
        torch.manual_seed(0)
        net = create(name, num_classes=classes, in_chans=3)
        return cls(name, net, torch.randn(max(batches), 3, side, side), n, batches)

    @functools.cached_property
    def snn(self) -> fx.GraphModule:
        return convert(self.ann, "robust_norm", self.statistics)

    @functools.cached_property
    def forward(self) -> tuple[str, Callable[[], object], int]:
        """The fastest forward pass: how, the pass, its images."""
        tried = {}
        for layout in (torch.channels_last, torch.contiguous_format):
            for how, net in {"eager": self.ann, "compiled": torch.compile(self.ann)}.items():
                for batch in self.batches:
                    images = self.images[:batch].contiguous(memory_format=layout)
                    call = functools.partial(_inference, net, images)
                    try:
                        call()
                    except Exception as error:  # whatever torch.compile raises without a compiler
                        print(f"{self.name} {how}: {type(error).__name__}, not tried")
                        break
                    name = f"batch {batch}, {str(layout).rpartition('.')[2]}, {how}"
                    tried[min(_seconds(call) for _ in range(2)) / batch] = (name, call, batch)
        return tried[min(tried)]

    def simulation(self, T: int, **options) -> Callable[[], object]:
        return lambda: simulate(self.snn, self.images[: self.n], T, **options)


def _inference(net: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return net(images)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def interleaved(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of every call in every round; each round calls all of them once, after one that is not counted."""
    for call in calls.values():
        call()
    found = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(_seconds(call))
    return found


def ratios(ours: list[float], ours_work: float, base: list[float], base_work: float) -> list[float]:
    return [a / ours_work / (b / base_work) for a, b in zip(ours, base, strict=True)]


def spread(values: list[float]) -> str:
    """Median [lowest .. highest]."""
    return f"{statistics.median(values):.3g} [{min(values):.3g} .. {max(values):.3g}]"


def engine(where) -> list[dict]:
    """The simulator against T forward passes."""
    rows = []
    for name in NETWORKS:
        case = Case.named(name, where)
        how, forward, images = case.forward
        price = costs(case.ann, case.images.shape[1:])
        macs, analog = sum(price.macs.values()), sum(price.macs[layer] for layer in price.analog)
        for T in (16, 32, 64, 128):
            found = interleaved({"forward": forward, "simulation": case.simulation(T)})
            result = simulate(case.snn, case.images[: case.n], T)
            events = result.events[T]
            spikes = sum(result.spikes(T).values()) / case.n / T / sum(price.neurons.values())
            operations = sum(price.operations(events).values()) / case.n / T
            rows.append(
                {
                    "network": name,
                    "T": T,
                    "x ANN": spread(ratios(found["simulation"], case.n * T, found["forward"], images)),
                    "ms / image / step": f"{1e3 * statistics.median(found['simulation']) / case.n / T:.3g}",
                    "dense floor": f"{1 - analog / macs:.3f}",
                    "spikes / neuron / step": f"{spikes:.3f}",
                    "operations / MACs": f"{operations / macs:.3f}",
                    "fastest ANN": how,
                    "source": case.weights,
                    "seconds": found,
                }
            )
            print(name, T, rows[-1]["x ANN"])
    return rows


def peers(where) -> list[dict]:
    """The same spiking network in other simulators."""
    from ann2snn.benchmarks.peers import PEERS, agreement  # type: ignore

    rows = []
    for name, T in (("cifar_resnet20", 32), ("deng_vgg16", 16), ("mobilenetv2_100", 8)):
        case = Case.named(name, where)
        how, forward, images = case.forward
        few = case.images[: case.n]
        calls: dict = {"forward": forward, "ann2snn": case.simulation(T)}
        outputs = {"ann2snn": simulate(case.snn, few, T).outputs[T]}
        refused = {}
        for peer, build in PEERS.items():
            try:
                run = build(case.snn)
                outputs[peer] = run(few, T)
                calls[peer] = functools.partial(run, few, T)
            except UserError as error:
                refused[peer] = str(error)
        found = interleaved(calls)
        for peer in ("ann2snn", *PEERS):
            row = {"network": name, "T": T, "simulator": peer}
            if peer in refused:
                rows.append(row | {"x ANN": "refused", "agreement": refused[peer]})
                continue
            rows.append(
                row
                | {
                    "x ANN": spread(ratios(found[peer], case.n * T, found["forward"], images)),
                    "x ann2snn": spread(ratios(found[peer], 1, found["ann2snn"], 1)),
                    "agreement": f"{100 * agreement(outputs[peer], outputs['ann2snn']):.1f} % of {case.n}",
                    "source": case.weights,
                    "seconds": found[peer],
                }
            )
            print(name, T, peer, rows[-1]["x ANN"], rows[-1]["agreement"])
    return rows


def scaling(where) -> list[dict]:
    """Cost as one thing grows: depth, width, batch."""
    rows = []

    def row(grows: str, name: str, case: Case, T: int, n: int, **options):
        snn, images = case.snn, case.images[:n]
        _, forward, batch = case.forward
        found = interleaved({"forward": forward, "simulation": lambda: simulate(snn, images, T, **options)})
        step = spread([1e3 * s / n / T for s in found["simulation"]])
        ratio = spread(ratios(found["simulation"], n * T, found["forward"], batch))
        rows.append({"grows": grows, "case": name, "ms / image / step": step, "x ANN": ratio, "seconds": found})
        print(grows, name, step, ratio)

    for name in ("cifar_resnet20", "cifar_resnet32", "cifar_resnet44", "cifar_resnet56"):
        row("depth", name, Case.untrained(name), 16, 64)
    small = Case.named("cifar_resnet20", where)
    for batch in (2, 8, 32, 100):
        row("batch", f"cifar_resnet20, batch {batch}", small, 16, 100, batch=batch)
    for width in (16, 32, 64, 128, 256):
        layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        torch.manual_seed(0)
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
        name = f"4 convolutions of {width} channels, 16x16"
        row("width", name, Case(name, net, torch.randn(100, 3, 16, 16)), 16, 64)
    return rows


PARTS = (
    EVENTS := "C: synapses of spikes, with their neurons",
    DEPTHWISE := "C: depthwise synapses, with their neurons",
    VALUES := "C: synapses of currents, with their neurons",
    SYNAPSES := "C: synapses without neurons",
    GIVEN := "C: neurons of a given current",
    PYTORCH := "PyTorch: all other layers",
    CALLS := "Python and memory: calls of layers",
    LOOP := "Python: the loop",
)


def profile(where) -> list[dict]:
    """Where the time of a simulation goes."""
    rows = []
    for name in NETWORKS:
        case, spent = Case.named(name, where), dict.fromkeys(PARTS, 0.0)
        run, value, layer = c_library.run, Plan.value, NativeIFLayer.run

        def timed(function, label, spent=spent):
            def call(*arguments, **keywords):
                before, began = sum(spent.values()), time.perf_counter()
                out = function(*arguments, **keywords)
                nested = sum(spent.values()) - before
                spent[label(*arguments, **keywords)] += time.perf_counter() - began - nested
                return out

            return call

        def part(**values):
            if "membrane" not in values:
                return SYNAPSES
            if "spikes" in values:
                return DEPTHWISE if values["groups"] > 1 else EVENTS
            return VALUES if "values" in values else GIVEN

        try:
            c_library.run = timed(run, part)
            Plan.value = timed(value, lambda *a, **k: PYTORCH)
            NativeIFLayer.run = timed(layer, lambda *a, **k: CALLS)
            case.simulation(32)()
            spent.update(dict.fromkeys(PARTS, 0.0))
            total = _seconds(case.simulation(32))
        finally:
            c_library.run, Plan.value, NativeIFLayer.run = run, value, layer
        spent[LOOP] = total - sum(spent.values())
        rows += [{"network": name, "part": p, "share": f"{100 * s / total:.1f} %"} for p, s in spent.items()]
    return rows


def counting(where) -> list[dict]:
    """What counting the spikes costs: the same library compiled without it."""
    rows, without = [], c_library.build(c_build.FLAGS + ["-DNOT_COUNTING"])
    for name in NETWORKS:
        case = Case.named(name, where)
        _ = case.snn
        silent = functools.partial(_with_library, without, case.simulation(32))
        found = interleaved({"counting": case.simulation(32), "not counting": silent}, 2 * ROUNDS)
        cost = [100 * (a / b - 1) for a, b in zip(found["counting"], found["not counting"], strict=True)]
        rows.append({"network": name, "T": 32, "cost of counting, %": spread(cost), "seconds": found})
        print(rows[-1]["network"], rows[-1]["cost of counting, %"])
    return rows


def _with_library(library, call: Callable[[], object]) -> None:
    """Call a function with another compiled library, or None for PyTorch alone."""
    before, c_library.library = c_library.library, lambda: library
    try:
        call()
    finally:
        c_library.library = before


def sweep(where) -> list[dict]:
    """Four methods, two resets, T = 1 ... 128 on one source, by PyTorch's `step` and by the compiled one."""
    digits = load("digits")
    torch.manual_seed(0)
    plain = create("digits_plain", num_classes=10, in_chans=1)
    images = torch.cat([next(part.batches(360))[0] for part in (digits.test, digits.validation)])
    rows = []
    for case, n in ((Case("digits_plain", plain, images), 720), (Case.named("cifar_resnet20", where), 32)):
        few = case.images[:n]

        def all_methods(case=case, few=few):
            options: dict
            for name, options in presets.CLASSIC_VARIANTS:
                grids = [[t] for t in presets.TIME_STEPS] if find(name).depends_on_T else [list(presets.TIME_STEPS)]
                for grid in grids:
                    simulate(convert(case.ann, name, case.statistics, grid[-1], **options), few, at=grid)

        plain_step = functools.partial(_with_library, None, all_methods)
        all_methods()  # the statistics, which both share
        found = {"PyTorch": [_seconds(plain_step)], "compiled": [_seconds(all_methods)]}
        ratio = spread(ratios(found["PyTorch"], 1, found["compiled"], 1))
        seconds = {f"{name}, s": f"{taken[0]:.1f}" for name, taken in found.items()}
        row = {"network": case.name, "images": len(few), **seconds, "ratio": ratio, "source": case.weights}
        rows.append(row | {"seconds": found})
        print(case.name, seconds, ratio)
    return rows


CALIBRATION = 100  # images


def calibrate(case: Case, quantile: bool) -> None:
    """All thresholds of a network from its images."""
    stats = Statistics(case.ann, lambda: case.images[:CALIBRATION].split(50))
    for layer in activations(case.ann):
        _ = stats[layer].quantile(0.999) if quantile else stats[layer].max


def statistics_(where) -> list[dict]:
    """Calibration: images per second, against the bare forward pass."""
    rows = []
    for name in NETWORKS:
        case = Case.named(name, where)
        how, forward, batch = case.forward
        calls = {
            "maximum": functools.partial(calibrate, case, False),
            "99.9 % quantile": functools.partial(calibrate, case, True),
        }
        found = interleaved({"forward": forward, **calls})
        for what in calls:
            images = min(CALIBRATION, len(case.images))
            rate = images / statistics.median(found[what])
            ratio = spread(ratios(found[what], images, found["forward"], batch))
            row = {"network": name, "statistic": what, "images / s": f"{rate:.0f}", "x ANN": ratio}
            rows.append(row | {"seconds": found[what]})
            print(name, what, ratio)
    return rows


WAYS = {
    "float32": {"precision": "32-true", "channels_last": False},
    "float32, channels last": {"precision": "32-true"},
    "bf16, channels last": {},
}
IMAGES = 2560


def epoch(data, **how) -> float:
    """Seconds of one epoch of He's ResNet-20 on some images of CIFAR-10."""
    few = replace(data, train=data.train.subset(range(IMAGES)), validation=data.validation.subset(range(256)))
    net = checkpoints.untrained_network(source_info(data, "cifar_resnet20", "threshold_relu:1", 0), 0)
    with tempfile.TemporaryDirectory() as folder:
        options = {"device": "cpu", "logger": None, "progress": False, "label": ""}
        plan = replace(recipes.RECIPES["cifar"], epochs=1, **how)
        return lightning_module.fit(net, few, plan, 0, Path(folder) / "last", **options)["training_seconds"]


def training_(where) -> list[dict]:
    """One epoch of He's ResNet-20 on 2,560 images of CIFAR-10, in two precisions."""
    data = load("cifar10", where.data_root, accept_unofficial=True)
    found = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, how in WAYS.items():
            found[name].append(epoch(data, **how))
    rows = []
    for name, seconds in found.items():
        minutes = spread([s * len(data.train) / IMAGES / 60 for s in seconds])
        ratio = spread(ratios(seconds, 1, found["float32"], 1))
        row = {"way": name, "minutes for all 45,000": minutes, "x float32": ratio}
        rows.append(row | {"seconds": seconds})
    return rows


EXPERIMENTS = {
    "engine": engine,
    "peers": peers,
    "scaling": scaling,
    "profile": profile,
    "counting": counting,
    "sweep": sweep,
    "statistics": statistics_,
    "training": training_,
}


SCHEMA = {
    "what": str,
    "machine": {"cpu": str, "date": str, "threads": int, "versions": {"torch": str}, "commit": (str, NoneType)}
    | {"dirty": (bool, NoneType)},
    "rows": [{}],
}
TARGETS = {"x ANN": 0.45, "times slower": 5.0, "cost of counting, %": 5.0}  # set before the simulator was built


def verdicts(records: dict[str, list[dict]]) -> list[dict]:
    """Medians against the targets, for every network that was measured."""

    def medians(what: str, column: str, name: str) -> dict[str, float]:
        rows = (
            row for row in records.get(what, []) if row["network"] == name and row.get(column, "refused") != "refused"
        )
        return {str(row.get("simulator", row["T"])): float(row[column].split()[0]) for row in rows}

    def judged(bound: float, *values: float, at_most: bool = True) -> str:
        """No verdict where two experiments measured the same, on both sides of the bound."""
        found = {"met" if (value <= bound) == at_most else "missed" for value in values}
        return f"{' and '.join(f'{v:.3g}' for v in values)}: {found.pop() if len(found) == 1 else 'no verdict'}"

    out = []
    for name in NETWORKS:
        steps, others = medians("engine", "x ANN", name), medians("peers", "x ann2snn", name)
        others.pop("ann2snn", None)
        beside = medians("peers", "x ANN", name).get("ann2snn")
        beside_at = next((str(row["T"]) for row in records.get("peers", []) if row["network"] == name), None)
        row = {"network": name}
        for T, ratio in steps.items():
            again = [beside] if beside is not None and T == beside_at else []
            row[f"x ANN at T = {T}, at most {TARGETS['x ANN']}"] = judged(TARGETS["x ANN"], ratio, *again)
        if others:
            fastest = min(others, key=others.__getitem__)
            head = f"fastest peer / ann2snn, at least {TARGETS['times slower']:g}"
            row[head] = f"{judged(TARGETS['times slower'], others[fastest], at_most=False)} ({fastest})"
        for cost in medians("counting", "cost of counting, %", name).values():
            row["counting, %, at most 5"] = judged(TARGETS["cost of counting, %"], cost)
        out.append(row)
    return out


def load_all(root: Path) -> list[dict]:
    """The records below `root`, by experiment; a damaged file is left out and named on stderr."""
    found = []
    for path in sorted(root.glob("*.json")):
        try:
            record = read_json(path)
            try:
                conform(record, SCHEMA, "record")
                if record["what"] not in EXPERIMENTS:
                    raise ValueError(f"there is no experiment {record['what']!r}")
            except ValueError as error:
                raise DamagedFile(path, f"is no record of an experiment: {error}", "remove it") from None
            found.append(record)
        except UserError as error:
            leave_out(error)
    return sorted(found, key=lambda record: list(EXPERIMENTS).index(record["what"]))


def page(root: Path) -> str:
    """All records below `root` as one Markdown page."""
    records = load_all(root)
    parts = [
        "# Speed",
        "<!-- Generated: `python -m ann2snn.benchmarks.speed`. Do not edit. -->",
        "`x ANN`: time per image and step in units of one forward pass of the same ANN at its fastest, measured in the "
        f"same run; median [lowest .. highest] of the ratios of {ROUNDS} interleaved rounds (of one "
        "round where the three are equal, of the rounds that the record lists where there are more). *Dense floor*: "
        "the share of the ANN's multiply-accumulates that a simulator which computes every layer in full repeats at "
        "every step; the first layer's need not be. *Operations / MACs*: synaptic operations of a step in units of the "
        "ANN's multiply-accumulates. Scaling is at T = 16. "
        "What was tried, and why it is fast: docs/speed.md. On a GPU: not measured.",
        "## Against the targets",
        tabulate(verdicts({r["what"]: r["rows"] for r in records}), headers="keys", tablefmt="github"),
    ]
    for record in records:
        place = record["machine"]
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in record["rows"]]
        parts += [
            f"## {record['what'].capitalize()}: {EXPERIMENTS[record['what']].__doc__}",
            f"{place['cpu']}, {place['threads']} threads, torch {place['versions']['torch']}, commit "
            f"{(place['commit'] or 'unknown')[:7]}{' with changes' if place['dirty'] else ''}, {place['date'][:10]}.",
            tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the speed of the simulator on this machine.")
    parser.add_argument("what", nargs="*", default=list(EXPERIMENTS), metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument("--root", type=Path, default=Path("results/speed"))
    parser.add_argument("--runs", type=Path, help="where `ann2snn import resnet20-akamaster` put the public weights")
    parser.add_argument("--data-root", type=Path, help="folder with CIFAR-10, for these weights and for the training")
    where = parser.parse_args()
    if unknown := set(where.what) - set(EXPERIMENTS):
        parser.error(f"there is no experiment {unknown.pop()!r}; there are: {', '.join(EXPERIMENTS)}")
    for what in where.what:
        print(f"== {what}")
        try:
            rows = EXPERIMENTS[what](where)
        except UserError as error:
            parser.error(str(error))
        machine = provenance(device="cpu", threads=torch.get_num_threads(), batch=0, calibration_hash="")
        machine = {k: machine[k] for k in ("commit", "dirty", "versions", "cpu", "threads", "command", "date")}
        name = f"{what}-{slug(machine['cpu'])}-{machine['threads']}threads.json"
        text = json.dumps({"what": what, "machine": machine, "rows": rows}, indent=1)
        write_atomic(where.root / name, text)
        write_atomic(where.root / "README.md", page(where.root))
    print(f"{where.root / 'README.md'}")


if __name__ == "__main__":
    main()
