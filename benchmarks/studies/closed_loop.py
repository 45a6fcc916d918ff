"""What each part of `closed_loop` contributes: the factor table of docs/closed-loop.md.

`python -m ann2snn.benchmarks.studies.closed_loop WEIGHTS...` converts each source in every variant at one T, and
measures it on the first images of the validation split. The test set is not read. Rows are saved to `--file` one by
one, so that a second run resumes. It prints the table.
"""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.exit_on_interrupt()  # before anything else is imported

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from tabulate import tabulate

from ann2snn.cli.parsing import count
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments.layer_errors import constant_rate_network
from ann2snn.experiments.source import SourceANN
from ann2snn.files import write_atomic
from ann2snn.methods.convert import convert
from ann2snn.records.packing import pack, unpack
from ann2snn.simulation.simulate import simulate
from ann2snn.training import checkpoints

FILE = Path("results/closed-loop.json")
DEFAULT = "closed_loop"
IMAGES = 1024  # calibration images
EVEN = "closed_loop, evenly timed"
VARIANTS = {  # method, calibration images and options
    DEFAULT: ("closed_loop", IMAGES, {}),
    "64 images": ("closed_loop", 64, {}),
    "256 images": ("closed_loop", 256, {}),
    "2,048 images": ("closed_loop", 2048, {}),
    "ridge 0.0001": ("closed_loop", IMAGES, {"ridge": 0.0001}),
    "ridge 0.001": ("closed_loop", IMAGES, {"ridge": 0.001}),
    "ridge 0.1": ("closed_loop", IMAGES, {"ridge": 0.1}),
    "without least squares": ("closed_loop", IMAGES, {"least_squares": False}),
    "ftbc": ("ftbc", IMAGES, {}),
    "snnc_ap": ("snnc_ap", IMAGES, {}),
}
BATCH = 250  # images


def measure(source: SourceANN, variants: list[str], T: int, limit: int):
    """Yields a row for each variant, and after the first another one for the same network with evenly timed spikes."""
    part = source.data.validation.subset(range(min(limit, len(source.data.validation))))
    images = torch.cat([x for x, _ in part.batches(BATCH)])
    info = {name: source.info[name] for name in ("dataset", "network", "activation", "seed", "weights_hash")}

    def row(variant: str, outputs: torch.Tensor, seconds: float) -> dict:
        correct = outputs.argmax(1) == part.labels
        error = ((outputs - logits).square().mean() / logits.var(0).mean()).item()
        fields = {"variant": variant, "T": T, "images": len(part), "seconds": round(seconds, 1)}
        return info | fields | {"error": error, "correct": pack(correct.int().numpy())}

    with torch.inference_mode():
        logits = torch.cat([source.ann(x) for x in images.split(BATCH)])
    yield row("ANN", logits, 0.0)
    for variant in variants:
        method, calibration, options = VARIANTS[variant]
        stats, _ = source.statistics(calibration, 0)
        began = time.perf_counter()
        snn = convert(source.ann, method, stats, T, **options)
        seconds = time.perf_counter() - began
        yield row(variant, simulate(snn, images).mean(T), seconds)
        if variant == DEFAULT:
            even = constant_rate_network(snn, T)
            with torch.inference_mode():
                yield row(EVEN, torch.cat([even(x) for x in images.split(BATCH)]), 0.0)


def table(rows: list[dict]) -> str:
    """Accuracy, paired difference to `closed_loop` and squared error of the output, by source and variant."""
    sources = list(dict.fromkeys((r["dataset"], r["activation"], r["seed"], r["T"], r["images"]) for r in rows))
    lines = []
    for variant in ["ANN", DEFAULT, EVEN, *[v for v in VARIANTS if v != DEFAULT]]:
        cells = []
        for source in sources:
            key = ("dataset", "activation", "seed", "T", "images")
            own = {r["variant"]: r for r in rows if tuple(r[k] for k in key) == source}
            cells += _cells(own.get(variant), own[DEFAULT])
        lines.append([variant, *cells])
    heads = [f"{d}, `{a}`, seed {s}, T = {T}, n = {n:,}" for d, a, s, T, n in sources]
    columns = [text for head in heads for text in (f"{head}: accuracy", "difference", "error")]
    return tabulate(lines, columns, tablefmt="github", disable_numparse=True)


def _cells(row: dict | None, reference: dict) -> list[str]:
    if row is None:
        return ["-", "-", "-"]
    own, other = (torch.from_numpy(unpack(r["correct"])).double() for r in (row, reference))
    change = 100 * (own - other)
    margin = 1.96 * change.std(correction=0).item() / math.sqrt(len(change))
    difference = "" if row["variant"] == DEFAULT else f"{change.mean().item():+.2f} ± {margin:.2f}"
    return [f"{100 * own.mean().item():.1f}", difference, f"{row['error']:.3f}" if row["error"] else ""]


def main() -> int:
    """Measures what is missing in the file, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", type=Path, help="files of trained sources, such as results/weights/...")
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--T", type=count, default=8)
    parser.add_argument("--limit", type=count, default=1000, help="number of validation images")
    parser.add_argument("--variant", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--accept-unofficial-data", action="store_true")
    options = parser.parse_args()
    try:
        rows = json.loads(options.file.read_text()) if options.file.exists() else []
        for weights in options.weights:
            _, info = checkpoints.load_source(weights)
            data = load(info["dataset"], options.data_root, accept_unofficial=options.accept_unofficial_data)
            fixed = {"weights_hash": info["weights_hash"], "T": options.T}
            done = {r["variant"] for r in rows if fixed.items() <= r.items()}
            missing = [variant for variant in options.variant if variant not in done]
            for row in measure(SourceANN(data, weights), missing, options.T, options.limit) if missing else ():
                if row["variant"] not in done:
                    rows.append(row)
                    write_atomic(options.file, json.dumps(rows, indent=1) + "\n")
        print(table(rows))
    except UserError as error:
        print(f"closed_loop: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
