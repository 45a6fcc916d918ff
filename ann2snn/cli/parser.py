"""The argument parser of the command line. It imports nothing heavy."""

from pathlib import Path

import ann2snn
from ann2snn.cli.parsing import Parser, count, devices, images, seed, shard, steps


def parser() -> Parser:
    top = Parser(
        prog="ann2snn",
        description="Convert trained networks to spiking ones and measure what that costs.",
        epilog="`ann2snn COMMAND --help` has the options of a command, their defaults and an\n"
        "example, such as:\n  ann2snn sweep --dataset digits --network digits_plain --T 4 8 16",
    )
    top.add_argument("--version", action="version", version=f"ann2snn {ann2snn.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, example: str) -> Parser:
        about = text[0].upper() + text[1:] + "."
        return commands.add_parser(name, help=text, description=about, epilog=f"example:\n  ann2snn {name} {example}")

    def running(p: Parser, several: bool = False) -> None:
        p.add_argument("--runs", type=Path, default=Path("runs"), help="where this machine's results go")
        if several:
            p.add_argument(
                "--device",
                type=devices,
                default="auto",
                help="auto (default), cpu, cuda; or cuda:0,cuda:1 for a process on each (untested on hardware)",
            )
        else:
            device(p)
        p.add_argument(
            "--threads",
            type=count,
            metavar="N",
            help="CPU threads (default: $OMP_NUM_THREADS, else 1 for the digits, else as many as there are free cores)",
        )
        p.add_argument(
            "--wandb", choices=["offline", "online", "off"], help="W&B (default: online with a key, else offline)"
        )
        reading(p)

    def device(p: Parser) -> None:
        p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: a GPU if there is one")

    def reading(p: Parser) -> None:
        p.add_argument("--data-root", type=Path, help="folder of the datasets (default: $ANN2SNN_DATA, else data)")
        p.add_argument(
            "--accept-unofficial-data", action="store_true", help="take files with other checksums; rows are marked"
        )

    def source(p: Parser, many: bool) -> None:
        several: dict = {"nargs": "+"} if many else {}
        p.add_argument("--dataset", required=True, help="as `ann2snn list datasets` names it")
        p.add_argument("--network", required=True, **several, help="one of `ann2snn list networks`, or a timm name")
        p.add_argument(
            "--activation",
            default=["threshold_relu:1"] if many else "threshold_relu:1",
            **several,
            help="relu, threshold_relu:Y_TH, tcl, qcfs:L, slip_relu:L:A",
        )
        p.add_argument("--seed", type=seed, **several, help="of the training (default: 0)")
        p.add_argument(
            "--recipe",
            help="of the training" + ", or imported weights" * many + " (default: that of the dataset and network)",
        )

    def limit(p: Parser, what: str) -> None:
        p.add_argument("--limit", type=images, metavar="N", help=f"a quick look: the first N test images; {what}")

    def plugin(p: Parser) -> None:
        p.add_argument("--plugin", type=Path, nargs="+", default=[], metavar="FILE", help="files with further methods")

    def as_json(p: Parser) -> None:
        p.add_argument("--json", action="store_true", help="print JSON instead of tables")

    p = command(
        "reproduce",
        "run a profile: train, convert, simulate, and build the leaderboard",
        "--profile digits --only digits-residual",
    )
    p.add_argument(
        "--profile",
        default="quick",
        help="quick (default): digits, T to 32; digits: T to 128 and a timm network; cifar: He's ResNet-20; paper: the"
        " paper's networks on CIFAR; imagenet: its VGG-16; matrix: every method on the same sources",
    )
    p.add_argument("--only", metavar="ID", nargs="+", default=[], help="tables or rows, as --dry-run prints them")
    p.add_argument("--dry-run", action="store_true", help="list the jobs with their time and disk, and run nothing")
    p.add_argument(
        "--shard",
        metavar="I/N",
        type=shard,
        action="append",
        default=[],
        help="the I-th of N disjoint parts of the jobs, for N machines; merging is copying runs/records together",
    )
    running(p, several=True)

    p = command("train", "train one source network, or find it trained", "--dataset digits --network digits_plain")
    source(p, many=False)
    running(p)

    p = command(
        "import",
        "bring the weights of a public checkpoint to where sweeps find them",
        "resnet20-akamaster resnet20-12fca82f.th",
    )
    p.add_argument(
        "checkpoint",
        help="resnet20-akamaster: a ResNet-20 for CIFAR-10; or whose names a state dict has: deng2021, snn_calibration"
        " or qcfs, with the three options",
    )
    p.add_argument("file", type=Path, help="the file as its author published it")
    p.add_argument("--dataset", help="cifar10, cifar100 or imagenet")
    p.add_argument("--network", help="our name of it, such as deng_vgg16")
    p.add_argument("--activation", help="threshold_relu:Y_TH or relu; of qcfs: qcfs:L")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="where sweeps look for it")
    p.set_defaults(command="import_weights")  # `import` is a word of Python

    p = command(
        "sweep",
        "run methods on networks at a list of T",
        "--dataset digits --network digits_plain --method optimal opi",
    )
    source(p, many=True)
    p.add_argument("--method", nargs="+", default=["optimal"], help="as `ann2snn list methods` names them")
    p.add_argument("--reset", nargs="+", default=["soft"], choices=["soft", "hard"], help="soft, hard")
    p.add_argument("--option", nargs="+", default=[], metavar="NAME=VALUE", help="further options of the method")
    p.add_argument("--T", nargs="+", type=steps, default=[1, 2, 4, 8, 16, 32], help="numbers of time steps")
    p.add_argument("--calibration", type=images, default=1024, help="number of calibration images")
    p.add_argument("--calibration-seed", nargs="+", type=seed, metavar="SEED", default=[0], help="of their draw")
    p.add_argument("--calibration-transform", default="none", help="an augmentation, such as crop_flip")
    plugin(p)
    p.add_argument("--dry-run", action="store_true", help="list the jobs with their time and disk, and run nothing")
    limit(p, "no record is kept")
    running(p)

    p = command(
        "diagnose",
        "explain the error of a source's conversion layer by layer",
        "--dataset digits --network digits_residual --T 4 16",
    )
    source(p, many=False)
    p.add_argument("--T", nargs="+", type=steps, default=[4, 8, 16, 32], help="numbers of time steps")
    p.add_argument("--images", type=images, default=1000, help="test images")
    limit(p, "nothing is kept")
    running(p)

    p = command(
        "inspect",
        "say what becomes of every node of a network",
        "torchvision.models:resnet18",
    )
    p.add_argument(
        "model",
        nargs="?",
        help="a timm name, one of ours, an import path such as package.module:function, or a checkpoint of ours",
    )
    p.add_argument("--reasons", action="store_true", help="print all reasons why a node may not convert")
    p.add_argument(
        "--shape", type=count, nargs=3, metavar=("C", "H", "W"), help="of one input (default: what the network is for)"
    )
    p.add_argument("--classes", type=count, help="outputs of the network (default: the dataset's, else 1000)")
    p.add_argument("--activation", help="put this one into the network, such as threshold_relu:1 (default: relu)")
    p.add_argument("--dataset", help="calibrate on it (a checkpoint of ours: on its own)")
    p.add_argument("--method", default="optimal", help="whose thresholds are shown")
    p.add_argument("--T", type=steps, default=32, help="number of time steps, where the method depends on it")
    plugin(p)
    as_json(p)
    reading(p)

    p = command("list", "name the methods, datasets, networks or recipes, with a line each", "methods")
    p.add_argument("what", choices=["methods", "datasets", "networks", "recipes"], help="of what")
    plugin(p)
    p.set_defaults(command="list_")  # `list` is a word of Python

    p = command(
        "leaderboard",
        "build the tables and figures from the records, or check that they are fresh",
        "--root runs",
    )
    p.add_argument("--root", type=Path, default=Path("results"), help="folder with the records")
    p.add_argument("--readme", type=Path, help="also the table in this file")
    p.add_argument("--check", action="store_true", help="change nothing, fail when something is stale")

    p = command(
        "dashboard",
        "save a view of the records' runs in W&B, one section for each table",
        "--dataset cifar10 --method optimal opi --dry-run",
    )
    p.add_argument("--entity", help="the user or team that owns the project (default: $WANDB_ENTITY)")
    p.add_argument("--project", help="where the runs were logged to (default: $WANDB_PROJECT, else ann2snn)")
    for name in ("dataset", "network", "method"):
        p.add_argument(
            f"--{name}", nargs="+", default=[], metavar="NAME", help=f"show these {name}s only (default: all)"
        )
    plugin(p)
    p.add_argument("--dry-run", action="store_true", help="print the dashboard as JSON: no key, account or network")

    p = command("compare", "compare two records image by image", "A.json B.json")
    p.add_argument("first", type=Path, metavar="A", help="a record, such as results/records/.../optimal-soft-....json")
    p.add_argument("second", type=Path, metavar="B", help="another record of the same test images")
    as_json(p)

    p = command(
        "recheck", "recompute records and say whether they agree", "results/records/digits/digits_plain/relu/seed0"
    )
    p.add_argument("record", type=Path, nargs="+", help="files, or folders with all records below them")
    plugin(p)
    p.add_argument(
        "--weights", type=Path, help="a file (default: the one with the recorded hash, published or in --runs)"
    )
    p.add_argument("--runs", type=Path, default=Path("runs"), help="where train and import put weights")
    device(p)
    as_json(p)
    reading(p)

    p = command("publish", "copy finished records from runs/ to results/ and rebuild the tables", "--runs runs")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="where the records come from")
    p.add_argument("--results", type=Path, default=Path("results"), help="where they go")
    p.add_argument("--uncommitted", action="store_true", help="also records from code that is not committed")
    p.add_argument("--data-root", type=Path, help="folder of the datasets, for hashes of images that are not official")

    p = command(
        "completion",
        "print a script that completes commands, options and names",
        "bash > ~/.local/share/bash-completion/completions/ann2snn",
    )
    p.add_argument("shell", choices=["bash", "zsh"], help="for which shell")
    return top
