"""Options that several commands share."""

from pathlib import Path

from ann2snn.cli.parsing import Parser, count, devices, images, seed

ACTIVATIONS = "relu, threshold_relu:Y_TH, tcl, qcfs:L, slip_relu:L:A"


def add_source(p: Parser, several: bool) -> None:
    """The source network: dataset, network, activation, seed and recipe; `several` values of each for a sweep."""
    nargs: dict = {"nargs": "+"} if several else {}
    activation = ["threshold_relu:1"] if several else "threshold_relu:1"
    weights = ", or of imported weights" if several else ""
    p.add_argument("--dataset", required=True, help="a name from `ann2snn list datasets`")
    p.add_argument("--network", required=True, **nargs, help="a name from `ann2snn list networks`, or a timm name")
    p.add_argument(
        "--activation", default=activation, **nargs, help="relu, threshold_relu:Y_TH, tcl, qcfs:L, slip_relu:L:A"
    )
    p.add_argument("--seed", type=seed, **nargs, help="seed of the training (default: 0)")
    p.add_argument("--recipe", help=f"recipe of the training{weights} (default: that of the dataset and network)")


def add_run_options(p: Parser, several_devices: bool = False) -> None:
    """Where and how a command computes."""
    p.add_argument("--runs", type=Path, default=Path("runs"), help="folder for results")
    if several_devices:
        p.add_argument(
            "--device",
            type=devices,
            default="auto",
            help="auto (default), cpu, cuda; or cuda:0,cuda:1 for one process each (untested on hardware)",
        )
    else:
        add_device(p)
    p.add_argument(
        "--threads",
        type=count,
        metavar="N",
        help="CPU threads (default: $OMP_NUM_THREADS, else 1 for the digits, else the number of idle cores)",
    )
    p.add_argument(
        "--wandb", choices=["offline", "online", "off"], help="W&B mode (default: online with a key, else offline)"
    )
    add_data(p)


def add_device(p: Parser) -> None:
    """`--device` for a single device."""
    p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: a GPU if there is one")


def add_data(p: Parser) -> None:
    """Where the datasets are."""
    p.add_argument("--data-root", type=Path, help="folder of the datasets (default: $ANN2SNN_DATA, else data)")
    p.add_argument(
        "--accept-unofficial-data", action="store_true", help="accept files with other checksums; rows are marked"
    )


def add_limit(p: Parser, consequence: str) -> None:
    """`--limit N` for a quick look."""
    p.add_argument("--limit", type=images, metavar="N", help=f"use only the first N test images; {consequence}")


def add_dry_run(p: Parser) -> None:
    """`--dry-run` of a run of jobs."""
    p.add_argument("--dry-run", action="store_true", help="list the jobs with their time and disk, and run nothing")


def add_plugin(p: Parser) -> None:
    """`--plugin FILE ...`."""
    p.add_argument(
        "--plugin", type=Path, nargs="+", default=[], metavar="FILE", help="Python files with additional methods"
    )


def add_json(p: Parser) -> None:
    """`--json`."""
    p.add_argument("--json", action="store_true", help="print JSON instead of tables")
