"""Measures the speed of the simulator on this machine.

`python -m ann2snn.benchmarks.speed` runs all experiments and writes `results/speed/`; with names of experiments it runs
these. The unit of every ratio is one forward pass of the same ANN per image and step, at its fastest (batch size,
memory layout, eager or compiled; batch norm folded; the same number of threads).
"""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.exit_on_interrupt(interrupts.RESTARTS)  # before anything else is imported

import argparse
import json
from pathlib import Path

import torch

from ann2snn.benchmarks.speed.experiments import EXPERIMENTS  # type: ignore
from ann2snn.benchmarks.speed.page import page  # type: ignore
from ann2snn.errors import UserError
from ann2snn.files import slug, write_atomic
from ann2snn.records.provenance import provenance


def main() -> None:
    """Runs the experiments that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m ann2snn.benchmarks.speed", description="Measures the speed of the simulator on this machine."
    )
    parser.add_argument("what", nargs="*", default=list(EXPERIMENTS), metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument("--root", type=Path, default=Path("results/speed"))
    parser.add_argument("--runs", type=Path, help="where `ann2snn import resnet20-akamaster` put the public weights")
    parser.add_argument("--data-root", type=Path, help="folder with CIFAR-10, for these weights and for the training")
    options = parser.parse_args()
    if unknown := set(options.what) - set(EXPERIMENTS):
        parser.error(f"there is no experiment {unknown.pop()!r}; there are: {', '.join(EXPERIMENTS)}")
    for what in options.what:
        print(f"== {what}")
        try:
            rows = EXPERIMENTS[what](options)
        except UserError as error:
            parser.error(str(error))
        machine = provenance(device="cpu", threads=torch.get_num_threads(), batch=0, calibration_hash="")
        machine = {k: machine[k] for k in ("commit", "dirty", "versions", "cpu", "threads", "command", "date")}
        name = f"{what}-{slug(machine['cpu'])}-{machine['threads']}threads.json"
        text = json.dumps({"what": what, "machine": machine, "rows": rows}, indent=1)
        write_atomic(options.root / name, text)
        write_atomic(options.root / "README.md", page(options.root))
    print(f"{options.root / 'README.md'}")


if __name__ == "__main__":
    main()
