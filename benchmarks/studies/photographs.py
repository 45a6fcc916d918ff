"""A network trained on ImageNet, on photographs: how often its spiking network predicts what the ANN predicts.

`python -m ann2snn.benchmarks.studies.photographs --weights FILE.npz --images FOLDER --root runs` measures, prints a
table and writes `runs/photographs.json`; a second run resumes. Half of the photographs are used for calibration. On the
other half the agreement is measured: the share for which both networks predict the same class. The photographs are not
the validation set of ImageNet, so these are no ImageNet accuracies and no results for the leaderboard.

FILE.npz is TensorFlow's MobileNetV1 0.25 128 with ReLU6 and folded batch norm, identified by its hash: `i.weight`,
`i.bias` of 28 sequential layers, and 1,001 outputs, of which the first is no class of ImageNet. FOLDER holds the
pictures and images.csv (with columns ImageId, the name of a file without its ending, and TrueLabel, 1 to 1000).
"""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.exit_on_interrupt()  # before anything else is imported

import argparse
import csv
import hashlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor, nn

from ann2snn.calibration.statistics import Statistics
from ann2snn.data.imagenet import PICTURES, picture
from ann2snn.data.split import Normalise
from ann2snn.errors import UserError
from ann2snn.experiments.layer_errors import constant_rate_network
from ann2snn.experiments.run_job import time_grids
from ann2snn.files import write_atomic
from ann2snn.graph.prepare import prepare
from ann2snn.leaderboard.photographs import FILE, LARGER, SIDE, WEIGHTS, load, table
from ann2snn.methods.registry import find
from ann2snn.metrics.operations import costs
from ann2snn.networks.registry import create
from ann2snn.records.packing import pack
from ann2snn.records.provenance import provenance
from ann2snn.simulation.simulate import simulate

METHODS = (
    *((name, {"reset": "soft"}) for name in ("optimal", "opi", "max_norm", "robust_norm")),
    ("max_norm", {"reset": "hard"}),
)
EVENLY = ("optimal", "opi")
T = (4, 8, 16, 32, 64, 128)
NORMALISE = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BATCH = 100  # images in a forward pass of the ANN


def load_network(file: Path | str) -> nn.Module:
    """The network with the weights of a file.

    Raises:
        UserError: It is not the file of WEIGHTS.
    """
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); give {WEIGHTS['file']}.") from error
    if (found := hashlib.sha256(content).hexdigest()) != WEIGHTS["sha256"]:
        raise UserError(f"{file} is not {WEIGHTS['file']}: its sha256 is {found}, not {WEIGHTS['sha256']}.")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return with_weights(arrays)


def with_weights(arrays: Mapping[str, np.ndarray]) -> nn.Module:
    """The network in evaluation mode, with `i.weight` and `i.bias` as its i-th layer of weights.

    The first output of the last layer is dropped, and its 1x1 kernel becomes a linear layer.
    """
    net = create(WEIGHTS["network"], num_classes=1000, in_chans=3, activation=WEIGHTS["activation"])
    layers = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    state = {
        f"{name}.{what}": torch.from_numpy(arrays[f"{i}.{what}"])
        for i, name in enumerate(layers)
        for what in ("weight", "bias")
    }
    weight, bias = f"{layers[-1]}.weight", f"{layers[-1]}.bias"
    state |= {weight: state[weight][1:].flatten(1), bias: state[bias][1:]}
    net.load_state_dict(state)
    return net.eval()


def load_pictures(folder: Path | str) -> tuple[Tensor, Tensor]:
    """(uint8 (N, 3, 128, 128), labels (N,) from 0), in the order of images.csv.

    Pillow's bilinear filter takes the shorter side to 146, and the middle of 128x128 is cut out.
    """
    table = Path(folder) / "images.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
        names, labels = [row["ImageId"] for row in rows], [int(row["TrueLabel"]) - 1 for row in rows]
    except OSError as error:
        raise UserError(f"{table} cannot be read ({error.strerror}): it lists pictures and their labels.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{table} needs the columns ImageId and TrueLabel, a number, in every line.") from error
    if len(rows) < 2 or not all(0 <= label < 1000 for label in labels):
        raise UserError(f"{table} needs two pictures or more, with labels from 1 to 1000.")
    paths = [next(filter(Path.exists, (table.with_name(n + end) for end in PICTURES)), None) for n in names]
    if missing := [name for name, path in zip(names, paths, strict=True) if path is None]:
        raise UserError(f"{folder} lacks {len(missing)} of {len(rows)} pictures of images.csv, such as {missing[0]}.")
    return torch.stack([picture(path, LARGER, SIDE) for path in paths if path]), torch.tensor(labels)


def split(n: int) -> tuple[Tensor, Tensor]:
    """Indices of the photographs for calibration and for measuring: the halves of a fixed permutation of n."""
    order = torch.from_numpy(np.random.RandomState(0).permutation(n))
    return order[: n // 2], order[n // 2 :]


def measure(weights: Path, folder: Path, root: Path, grid: tuple[int, ...] = T) -> dict:
    """The record of all methods at every T of the grid, written to `root` after every simulation.

    Results of an earlier run are kept if it used the same files in the same environment.
    """
    net, (pictures, labels) = load_network(weights), load_pictures(folder)
    calibrating, measured = split(len(labels))
    calibration, images = NORMALISE(pictures[calibrating]), NORMALISE(pictures[measured])
    ann = prepare(net, images[:1])
    stats, network_costs = Statistics(ann, lambda: calibration.split(BATCH)), costs(ann, images.shape[1:])
    with torch.inference_mode():
        expected = torch.cat([net(part).argmax(1) for part in images.split(BATCH)])
    record = {
        "weights": WEIGHTS,
        "pictures": {"hash": _hash(pictures, labels), "calibration": len(calibration), "measured": len(images)},
        "ann": {"correct": int((expected == labels[measured]).sum()), "predictions": pack(expected.numpy())},
        "network": {"neurons": sum(network_costs.neurons.values()), "macs": sum(network_costs.macs.values())},
        "results": {},
        "provenance": _provenance(_hash(calibrating)),
    }
    path = root / FILE
    record["results"] = _kept(path, record)
    for name, options in METHODS:
        found = record["results"].setdefault(_label(name, options), {})
        for part in time_grids(name, sorted(t for t in {*grid} if str(t) not in found)):
            result = simulate(find(name)(ann, stats, part[-1], seed=0, **options), images, part[-1], at=part)
            for t in part:
                predictions = result.predictions(t)
                found[str(t)] = {
                    "agree": int((predictions == expected).sum()),
                    "undecided": result.undecided(t),
                    "predictions": pack(predictions.numpy()),
                    "spikes": sum(result.spikes(t).values()) / len(images),  # of an image, as are the operations
                    "operations": sum(network_costs.operations(result.events[t]).values()) / len(images),
                    "seconds": round(result.seconds[t], 3),
                }
                print(f"{_label(name, options)} T={t}: {found[str(t)]['agree']} of {len(images)} agree,"
                      f" {result.seconds[t]:.0f} s", flush=True)  # fmt: skip
            write_atomic(path, json.dumps(record, indent=1) + "\n")
    for name in EVENLY:
        found = record["results"].setdefault(f"{name}, even", {})
        for t in sorted(t for t in {*grid} if str(t) not in found):
            even = constant_rate_network(find(name)(ann, stats, t), t)
            with torch.inference_mode():
                predictions = torch.cat([even(part).argmax(1) for part in images.split(BATCH)])
            found[str(t)] = {"agree": int((predictions == expected).sum()), "predictions": pack(predictions.numpy())}
    write_atomic(path, json.dumps(record, indent=1) + "\n")
    return record


def _label(name: str, options: dict) -> str:
    return name if options["reset"] == "soft" else f"{name}, {options['reset']}"


def _hash(*tensors: Tensor) -> str:
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def _provenance(calibration_hash: str) -> dict:
    threads = torch.get_num_threads()
    made = provenance(device="cpu", threads=threads, batch=0, calibration_hash=calibration_hash)
    del made["batch"]  # type: ignore[misc]  # the simulator's own choice
    versions = {name: find(name).version for name, _ in METHODS}
    return made | {"versions": made["versions"] | {"pillow": PIL.__version__}, "methods": versions}


def _kept(path: Path, record: dict) -> dict:
    """The results in a file, if everything that they depend on is the same."""
    before = load(path)

    def basis(one: dict) -> list:
        place = {name: value for name, value in one.get("provenance", {}).items() if name not in ("command", "date")}
        return [one.get("weights"), one["pictures"], one["ann"], place]

    return before["results"] if before and basis(before) == basis(record) else {}


def main(arguments: list[str] | None = None) -> int:
    """Measures the agreement and writes results/photographs.json."""
    parser = argparse.ArgumentParser(description="Agreement of spiking networks with their ANN on photographs.")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE.npz", help=WEIGHTS["file"])
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="images.csv and the pictures")
    parser.add_argument("--root", type=Path, default=Path("runs"))
    parser.add_argument("--T", type=int, nargs="+", default=T)
    options = parser.parse_args(arguments)
    try:
        measure(options.weights, options.images, options.root, tuple(options.T))
    except UserError as error:
        print(f"photographs: {error}", file=sys.stderr)
        return 2
    print(f"\n{table(options.root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
