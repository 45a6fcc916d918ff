"""The argument parser of the command line. It imports nothing heavy, so that `ann2snn --help` is fast."""

import argparse
from pathlib import Path

import ann2snn
from ann2snn.cli.parsing import Parser, count, images, seed, shard, steps
from ann2snn.cli.shared_options import (
    add_data,
    add_device,
    add_dry_run,
    add_json,
    add_limit,
    add_plugin,
    add_run_options,
    add_source,
)


def parser() -> Parser:
    """The parser of `ann2snn`, with a subparser for every command."""
    top = Parser(
        prog="ann2snn",
        description="Convert trained networks to spiking networks, and measure accuracy and cost.",
        epilog="`ann2snn COMMAND --help` lists the options of a command with their defaults and\n"
        "an example, such as:\n  ann2snn sweep --dataset digits --network digits_plain --T 4 8 16",
    )
    top.add_argument("--version", action="version", version=f"ann2snn {ann2snn.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _add_reproduce, _add_train, _add_import, _add_sweep, _add_diagnose, _add_inspect, _add_list,
        _add_leaderboard, _add_dashboard, _add_compare, _add_recheck, _add_publish, _add_completion,
    ):  # fmt: skip
        add(commands)
    return top


def _command(commands: argparse._SubParsersAction, name: str, summary: str, example: str) -> Parser:
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  ann2snn {name} {example}",
    )


def _add_reproduce(commands) -> None:
    p = _command(
        commands,
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
    p.add_argument("--only", metavar="ID", nargs="+", default=[], help="run these tables or rows; --dry-run lists them")
    add_dry_run(p)
    p.add_argument(
        "--shard",
        metavar="I/N",
        type=shard,
        action="append",
        default=[],
        help="run the I-th of N disjoint parts, to use N machines; afterwards copy their runs/records together",
    )
    add_run_options(p, several_devices=True)


def _add_train(commands) -> None:
    p = _command(
        commands, "train", "train a source network, or load it if trained", "--dataset digits --network digits_plain"
    )
    add_source(p, several=False)
    add_run_options(p)


def _add_import(commands) -> None:
    p = _command(
        commands,
        "import",
        "import the weights of a public checkpoint, for use in sweeps",
        "resnet20-akamaster resnet20-12fca82f.th",
    )
    p.add_argument(
        "checkpoint",
        help="resnet20-akamaster (a ResNet-20 for CIFAR-10), or a format of layer names: deng2021, snn_calibration or"
        " qcfs, with --dataset, --network and --activation",
    )
    p.add_argument("file", type=Path, help="the file as published by its author")
    p.add_argument("--dataset", help="cifar10, cifar100 or imagenet")
    p.add_argument("--network", help="network name in this suite, such as deng_vgg16")
    p.add_argument("--activation", help="threshold_relu:Y_TH, relu, or (qcfs) qcfs:L")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="folder where sweeps look for weights")


def _add_sweep(commands) -> None:
    p = _command(
        commands,
        "sweep",
        "convert networks with methods and simulate them at each T",
        "--dataset digits --network digits_plain --method optimal opi",
    )
    add_source(p, several=True)
    p.add_argument("--method", nargs="+", default=["optimal"], help="names from `ann2snn list methods`")
    p.add_argument("--reset", nargs="+", default=["soft"], choices=["soft", "hard"], help="reset rules")
    p.add_argument("--option", nargs="+", default=[], metavar="NAME=VALUE", help="other options of the method")
    p.add_argument("--T", nargs="+", type=steps, default=[1, 2, 4, 8, 16, 32], help="numbers of time steps")
    p.add_argument("--calibration", type=images, default=1024, help="number of calibration images")
    p.add_argument(
        "--calibration-seed", nargs="+", type=seed, metavar="SEED", default=[0], help="seeds of their selection"
    )
    p.add_argument("--calibration-transform", default="none", help="augmentation of them, such as crop_flip")
    add_plugin(p)
    add_dry_run(p)
    add_limit(p, "no record is saved")
    add_run_options(p)


def _add_diagnose(commands) -> None:
    p = _command(
        commands,
        "diagnose",
        "explain the conversion error of a source, layer by layer",
        "--dataset digits --network digits_residual --T 4 16",
    )
    add_source(p, several=False)
    p.add_argument("--T", nargs="+", type=steps, default=[4, 8, 16, 32], help="numbers of time steps")
    p.add_argument("--images", type=images, default=1000, help="number of test images")
    add_limit(p, "nothing is saved")
    add_run_options(p)


def _add_inspect(commands) -> None:
    p = _command(commands, "inspect", "report how each node of a network is converted", "torchvision.models:resnet18")
    p.add_argument(
        "model",
        nargs="?",
        help="a network of this suite or of timm, an import path such as package.module:function, or a trained source"
        " (.pt)",
    )
    p.add_argument("--reasons", action="store_true", help="print all reasons why a node cannot be converted")
    p.add_argument(
        "--shape",
        type=count,
        nargs=3,
        metavar=("C", "H", "W"),
        help="shape of one input (default: that of the network)",
    )
    p.add_argument("--classes", type=count, help="number of outputs (default: the dataset's, else 1000)")
    p.add_argument(
        "--activation", help="activation to build the network with, such as threshold_relu:1 (default: relu)"
    )
    p.add_argument("--dataset", help="calibrate on this dataset (default for a trained source: its own)")
    p.add_argument("--method", default="optimal", help="method whose thresholds are shown")
    p.add_argument("--T", type=steps, default=32, help="number of time steps, for methods that depend on it")
    add_plugin(p)
    add_json(p)
    add_data(p)


def _add_list(commands) -> None:
    p = _command(commands, "list", "list all methods, datasets, networks or recipes", "methods")
    p.add_argument("what", choices=["methods", "datasets", "networks", "recipes"], help="what to list")
    add_plugin(p)


def _add_leaderboard(commands) -> None:
    p = _command(
        commands,
        "leaderboard",
        "build tables and figures from the records, or check that they are up to date",
        "--root runs",
    )
    p.add_argument("--root", type=Path, default=Path("results"), help="folder with the records")
    p.add_argument("--readme", type=Path, help="also update the table in this file")
    p.add_argument("--check", action="store_true", help="change nothing; fail if anything is stale")


def _add_dashboard(commands) -> None:
    p = _command(
        commands,
        "dashboard",
        "save a W&B dashboard of the records' runs",
        "--dataset cifar10 --method optimal opi --dry-run",
    )
    p.add_argument("--entity", help="user or team that owns the project (default: $WANDB_ENTITY)")
    p.add_argument("--project", help="project of the runs (default: $WANDB_PROJECT, else ann2snn)")
    for name in ("dataset", "network", "method"):
        p.add_argument(
            f"--{name}", nargs="+", default=[], metavar="NAME", help=f"show only these {name}s (default: all)"
        )
    add_plugin(p)
    p.add_argument("--dry-run", action="store_true", help="print the dashboard as JSON; needs no key and no network")


def _add_compare(commands) -> None:
    p = _command(commands, "compare", "compare two records image by image", "A.json B.json")
    p.add_argument("first", type=Path, metavar="A", help="a record, such as results/records/.../optimal-soft-....json")
    p.add_argument("second", type=Path, metavar="B", help="another record of the same test images")
    add_json(p)


def _add_recheck(commands) -> None:
    p = _command(
        commands,
        "recheck",
        "recompute records and report whether they agree",
        "results/records/digits/digits_plain/relu/seed0",
    )
    p.add_argument("record", type=Path, nargs="+", help="records, or folders that contain records")
    add_plugin(p)
    p.add_argument(
        "--weights", type=Path, help="file of weights (default: searched by hash in the results and in --runs)"
    )
    p.add_argument("--runs", type=Path, default=Path("runs"), help="folder where train and import save weights")
    add_device(p)
    add_json(p)
    add_data(p)


def _add_publish(commands) -> None:
    p = _command(
        commands, "publish", "copy finished records from runs/ to results/ and rebuild the tables", "--runs runs"
    )
    p.add_argument("--runs", type=Path, default=Path("runs"), help="folder to copy from")
    p.add_argument("--results", type=Path, default=Path("results"), help="folder to copy to")
    p.add_argument("--uncommitted", action="store_true", help="include records from uncommitted code")
    p.add_argument("--data-root", type=Path, help="folder of the datasets, to hash test images that are not official")


def _add_completion(commands) -> None:
    p = _command(
        commands,
        "completion",
        "print a shell completion script",
        "bash > ~/.local/share/bash-completion/completions/ann2snn",
    )
    p.add_argument("shell", choices=["bash", "zsh"], help="shell to complete for")
