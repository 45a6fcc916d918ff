"""What each part of `closed_loop` contributes: the factor table of docs/closed-loop.md.

`python -m ann2snn.benchmarks.studies.closed_loop WEIGHTS...` converts each source in every variant at one T, and
measures it on the first images of the validation split. The test set is not read. Rows are saved to `--file` one by
one, so that a second run resumes. It prints the table.
"""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.exit_on_interrupt()  # before anything else is imported

import json
import math
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch
from tabulate import tabulate

from ann2snn.cli.parsing import Parser, count
from ann2snn.cli.shared_options import add_data
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments.layer_errors import constant_rate_network
from ann2snn.experiments.source import SourceANN
from ann2snn.files import write_atomic
from ann2snn.methods.convert import convert
from ann2snn.reading import read_json
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


def measure(source: SourceANN, variants: list[str], T: int, n: int):
    """Yields a row for the ANN and each variant, and before `closed_loop` one for its network with even timing."""
    part = source.data.validation.subset(range(n))
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
        if variant == DEFAULT:
            even = constant_rate_network(snn, T)
            with torch.inference_mode():
                yield row(EVEN, torch.cat([even(x) for x in images.split(BATCH)]), 0.0)
        yield row(variant, simulate(snn, images).mean(T), seconds)


def table(rows: list[dict]) -> str:
    """Accuracy, paired difference to `closed_loop` and squared error of the output, by source and variant."""
    key = ("dataset", "activation", "seed", "T", "images")
    by_source = defaultdict(dict)
    for row in rows:
        by_source[tuple(row[k] for k in key)][row["variant"]] = row
    lines = []
    for variant in ["ANN", DEFAULT, EVEN, *[v for v in VARIANTS if v != DEFAULT]]:
        cells = []
        for own in by_source.values():
            cells += _cells(own.get(variant), own.get(DEFAULT))
        lines.append([variant, *cells])
    heads = [f"{d}, `{a}`, seed {s}, T = {T}, n = {n:,}" for d, a, s, T, n in by_source]
    columns = [text for head in heads for text in (f"{head}: accuracy", "difference", "error")]
    return tabulate(lines, columns, tablefmt="github", disable_numparse=True)


def _cells(row: dict | None, reference: dict | None) -> list[str]:
    if row is None:
        return ["-", "-", "-"]
    correct, difference = 100 * unpack(row["correct"]), ""
    if reference is not None and reference is not row:
        change = correct - 100 * unpack(reference["correct"])
        difference = f"{change.mean():+.2f} ± {1.96 * change.std() / math.sqrt(len(change)):.2f}"
    return [f"{correct.mean():.1f}", difference, f"{row['error']:.3f}" if row["error"] else ""]


def main() -> int:
    """Measures what is missing in the file, and prints the table."""
    parser = Parser(description=__doc__)
    parser.add_argument("weights", nargs="*", type=Path, help="files of trained sources, such as results/weights/...")
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--T", type=count, default=8)
    parser.add_argument("--limit", type=count, default=1000, help="number of validation images")
    parser.add_argument("--variant", nargs="+", metavar="NAME", default=list(VARIANTS), choices=list(VARIANTS))
    add_data(parser)
    try:
        options = parser.parse_args()
        rows = read_json(options.file) if options.file.exists() else []
        for weights in options.weights:
            _, info = checkpoints.load_source(weights)
            data = load(info["dataset"], options.data_root, accept_unofficial=options.accept_unofficial_data)
            source = SourceANN(data, weights)
            images = min(options.limit, len(source.data.validation))
            fixed = {"weights_hash": info["weights_hash"], "T": options.T, "images": images}
            done = {r["variant"] for r in rows if fixed.items() <= r.items()}
            missing = [variant for variant in options.variant if variant not in done]
            for row in measure(source, missing, options.T, images) if missing else ():
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
