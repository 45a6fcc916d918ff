"""The command line: `ann2snn COMMAND ...`. Nothing heavy is imported before a command runs."""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.end_process()  # before anything else is imported

import argparse
import math
import re
import sys
from difflib import get_close_matches
from pathlib import Path

from ann2snn.errors import UserError

OUT_OF_MEMORY = ("failed to map segment", "allocate memory", "can't start new thread")  # in messages of libraries


class Parser(argparse.ArgumentParser):
    """Errors are one sentence, and a wrong name is answered with the nearest right ones."""

    def error(self, message: str):
        raise UserError(f"{message[0].upper()}{message[1:]}; `{self.prog} --help` lists what there is.")

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = get_close_matches(str(value), known, 3, 0.4) or known
            name = action.option_strings[-1] if action.option_strings else (action.dest or "command")
            raise UserError(f"There is no {name} {value!r}; the nearest are: {', '.join(near)}.")


def steps(text: str) -> int:
    return _whole(text, 1, "a number of steps, an integer of 1 or more")


def images(text: str) -> int:
    return _whole(text, 1, "a number of images, an integer of 1 or more")


def seed(text: str) -> int:
    return _whole(text, 0, "a seed, an integer from 0 to 2^32 - 1", 2**32 - 1)


def count(text: str) -> int:
    return _whole(text, 1, "an integer of 1 or more")


def shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n):
        return int(i), int(n)
    raise argparse.ArgumentTypeError(f"{text} is not a shard I/N with I from 1 to N, such as 1/3, 2/3 and 3/3")


def devices(text: str) -> str:
    if text == "auto" or all(re.fullmatch(r"cpu|cuda(:\d+)?", name) for name in text.split(",")):
        return text
    raise argparse.ArgumentTypeError(f"{text} is not auto, cpu, cuda, or several such as cuda:0,cuda:1")


def _whole(text: str, least: int, what: str, most: float = math.inf) -> int:
    try:
        if least <= (value := int(text)) <= most:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not {what}")


def parser() -> Parser:
    top = Parser(prog="ann2snn", description="Convert trained networks to spiking ones and measure what that costs.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> Parser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")

    def running(p: Parser, several: bool = False) -> None:
        p.add_argument("--runs", type=Path, default=Path("runs"), help="where this machine's results go (runs)")
        if several:
            p.add_argument(
                "--device",
                type=devices,
                default="auto",
                help="auto (default), cpu, cuda; or cuda:0,cuda:1 for a process on each (untested on hardware)",
            )
        else:
            p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        p.add_argument(
            "--wandb", default=None, choices=["offline", "online", "off"], help="default: offline without a key"
        )
        reading(p)

    def reading(p: Parser) -> None:
        p.add_argument("--data-root", type=Path, help="folder of the datasets ($ANN2SNN_DATA, else data)")
        p.add_argument(
            "--accept-unofficial-data", action="store_true", help="take files with other checksums; rows are marked"
        )

    def source(p: Parser, many: bool) -> None:
        count: dict = {"nargs": "+"} if many else {}
        p.add_argument("--dataset", required=True)
        p.add_argument("--network", required=True, **count, help="one of ours, or a timm name")
        p.add_argument("--activation", default=["threshold_relu:1"] if many else "threshold_relu:1", **count)
        p.add_argument("--seed", type=seed, **count, help="of the training (0)")
        p.add_argument("--recipe", help="of the training, by name" + " (or imported weights)" * many)

    p = command("reproduce", "run a profile: train, convert, simulate, and build the leaderboard")
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

    p = command("train", "train one source network, or find it trained")
    source(p, many=False)
    running(p)

    p = command("import", "bring the weights of a public checkpoint to where sweeps find them")
    p.add_argument(
        "checkpoint",
        help="resnet20-akamaster: a ResNet-20 for CIFAR-10; or whose names a state dict has: deng2021, snn_calibration"
        " or qcfs, with the three options",
    )
    p.add_argument("file", type=Path, help="the file as its author published it")
    p.add_argument("--dataset", help="cifar10, cifar100 or imagenet")
    p.add_argument("--network", help="our name of it, such as deng_vgg16")
    p.add_argument("--activation", help="threshold_relu:Y_TH or relu; of qcfs: qcfs:L")
    p.add_argument("--runs", type=Path, default=Path("runs"))
    p.set_defaults(command="import_weights")  # `import` is a word of Python

    p = command("sweep", "run methods on networks at a list of T")
    source(p, many=True)
    p.add_argument("--method", nargs="+", default=["optimal"])
    p.add_argument("--reset", nargs="+", default=["soft"])
    p.add_argument("--option", nargs="+", default=[], metavar="NAME=VALUE", help="further options of the method")
    p.add_argument("--T", nargs="+", type=steps, default=[1, 2, 4, 8, 16, 32])
    p.add_argument("--calibration", type=images, default=1024, help="calibration images (1024)")
    p.add_argument("--calibration-seed", nargs="+", type=seed, default=[0])
    p.add_argument("--calibration-transform", default="none", help="an augmentation, such as crop_flip (none)")
    p.add_argument("--plugin", type=Path, nargs="+", default=[], help="files with further methods")
    running(p)

    p = command("diagnose", "explain the error of a source's conversion layer by layer")
    source(p, many=False)
    p.add_argument("--T", nargs="+", type=steps, default=[4, 8, 16, 32])
    p.add_argument("--images", type=images, default=1000, help="test images (1000)")
    running(p)

    p = command("inspect", "say what becomes of every node of a network")
    p.add_argument(
        "model",
        nargs="?",
        help="a timm name, one of ours, an import path such as package.module:function, or a checkpoint of ours",
    )
    p.add_argument("--reasons", action="store_true", help="print all reasons why a node may not convert")
    p.add_argument("--shape", type=count, nargs=3, metavar=("C", "H", "W"), help="of one input")
    p.add_argument("--classes", type=count, help="outputs of the network (the dataset's, else 1000)")
    p.add_argument("--activation", help="put this activation into the network, such as threshold_relu:1 (relu)")
    p.add_argument("--dataset", help="calibrate on it (a checkpoint of ours: on its own)")
    p.add_argument("--method", default="optimal")
    p.add_argument("--T", type=steps, default=32)
    p.add_argument("--plugin", type=Path, nargs="+", default=[])
    reading(p)

    p = command("leaderboard", "build the tables and figures from the records, or check that they are fresh")
    p.add_argument("--root", type=Path, default=Path("results"))
    p.add_argument("--readme", type=Path, help="also the table in this file")
    p.add_argument("--check", action="store_true", help="change nothing, fail when something is stale")

    p = command("dashboard", "save a view of the records' runs in W&B, one section for each table")
    p.add_argument("--entity", help="the user or team that owns the project ($WANDB_ENTITY)")
    p.add_argument("--project", help="where the runs were logged to ($WANDB_PROJECT, else ann2snn)")
    for name in ("dataset", "network", "method"):
        p.add_argument(f"--{name}", nargs="+", default=[], metavar="NAME", help=f"show these {name}s only")
    p.add_argument("--dry-run", action="store_true", help="print the dashboard as JSON: no key, account or network")

    p = command("compare", "compare two records image by image")
    p.add_argument("first", type=Path, metavar="A", help="a record, such as results/records/.../optimal-soft-....json")
    p.add_argument("second", type=Path, metavar="B")

    p = command("recheck", "recompute records and say whether they agree")
    p.add_argument("record", type=Path, nargs="+")
    p.add_argument("--plugin", type=Path, nargs="+", default=[], help="files with further methods")
    p.add_argument("--weights", type=Path, help="default: the file with the recorded hash, published or in --runs")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="where train and import put weights (runs)")
    p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    reading(p)

    p = command("publish", "copy finished records from runs/ to results/ and rebuild the tables")
    p.add_argument("--runs", type=Path, default=Path("runs"))
    p.add_argument("--results", type=Path, default=Path("results"))
    p.add_argument("--uncommitted", action="store_true", help="also records from code that is not committed")
    p.add_argument("--data-root", type=Path, help="folder of the datasets, for hashes of images that are not official")
    return top


def main(arguments: list[str] | None = None) -> int:
    if arguments is None:
        interrupts.end_process()
    try:
        given = argparse.Namespace(arguments=sys.argv[1:] if arguments is None else arguments)
        options = parser().parse_args(arguments, given)
        from ann2snn import commands

        return getattr(commands, options.command)(options) or 0
    except UserError as error:
        print(f"ann2snn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{interrupts.SENTENCE}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        print(
            f"ann2snn: {error.filename or 'a file'}: {error.strerror or error}; mend that and run it again.",
            file=sys.stderr,
        )
        return 2
    except Exception as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        said = " ".join(str(error).split()) or "MemoryError"
        print(f"ann2snn: out of memory ({said}); free some, or raise the limit (`ulimit -v`).", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
