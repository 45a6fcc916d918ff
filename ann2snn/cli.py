"""The command line: `ann2snn COMMAND ...`. Nothing heavy is imported before a command runs."""

import argparse
import sys
from difflib import get_close_matches
from pathlib import Path

from ann2snn.errors import UserError


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
    return _whole(text, 0, "a seed, an integer of 0 or more")


def _whole(text: str, least: int, what: str) -> int:
    try:
        if (value := int(text)) >= least:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not {what}")


def parser() -> Parser:
    top = Parser(prog="ann2snn", description="Convert trained networks to spiking ones and measure what that costs.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> Parser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")

    def running(p: Parser) -> None:
        p.add_argument("--runs", type=Path, default=Path("runs"), help="where this machine's results go (runs)")
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
        which = p.add_mutually_exclusive_group()
        which.add_argument("--seed", type=seed, default=[0] if many else 0, **count)
        if many:
            which.add_argument("--recipe", help="weights that `ann2snn import` brought, instead of training")

    p = command("reproduce", "run a profile: train, convert, simulate, and build the leaderboard")
    p.add_argument("--profile", default="quick", help="quick (default): T to 32; digits: T to 128 and a timm network")
    p.add_argument("--only", metavar="ID", help="one table or row, as --dry-run prints them")
    p.add_argument("--dry-run", action="store_true", help="list the jobs with their time and disk, and run nothing")
    running(p)

    p = command("train", "train one source network, or find it trained")
    source(p, many=False)
    running(p)

    p = command("import", "bring the weights of a public checkpoint to where sweeps find them")
    p.add_argument("checkpoint", help="resnet20-akamaster: a ResNet-20 for CIFAR-10")
    p.add_argument("file", type=Path, help="the file as its author published it")
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
    p.add_argument("--plugin", type=Path, nargs="+", default=[], help="files with further methods")
    running(p)

    p = command("inspect", "say what becomes of every node of a network")
    p.add_argument(
        "model",
        nargs="?",
        help="a timm name, one of ours, an import path such as package.module:function, or a checkpoint of ours",
    )
    p.add_argument("--reasons", action="store_true", help="print all reasons why a node may not convert")
    p.add_argument("--shape", type=int, nargs=3, metavar=("C", "H", "W"), help="of one input")
    p.add_argument("--classes", type=int, help="outputs of the network (the dataset's, else 1000)")
    p.add_argument(
        "--activation", default="relu", help="put this activation into the network, such as threshold_relu:1"
    )
    p.add_argument("--dataset", help="calibrate on it (a checkpoint of ours: on its own)")
    p.add_argument("--method", default="optimal")
    p.add_argument("--T", type=steps, default=32)
    p.add_argument("--plugin", type=Path, nargs="+", default=[])
    reading(p)

    p = command("leaderboard", "build the tables and figures from the records, or check that they are fresh")
    p.add_argument("--root", type=Path, default=Path("results"))
    p.add_argument("--readme", type=Path, help="also the table in this file")
    p.add_argument("--check", action="store_true", help="change nothing, fail when something is stale")

    p = command("recheck", "recompute records and say whether they agree")
    p.add_argument("record", type=Path, nargs="+")
    p.add_argument("--plugin", type=Path, nargs="+", default=[], help="files with further methods")
    p.add_argument("--weights", type=Path, help="default: the file with the recorded hash beside the record")
    p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    reading(p)

    p = command("publish", "move finished records from runs/ to results/ and rebuild the tables")
    p.add_argument("--runs", type=Path, default=Path("runs"))
    p.add_argument("--results", type=Path, default=Path("results"))
    return top


def main(arguments: list[str] | None = None) -> int:
    try:
        options = parser().parse_args(arguments)
        from ann2snn import commands

        return getattr(commands, options.command)(options) or 0
    except UserError as error:
        print(f"ann2snn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nann2snn: interrupted; the same command goes on where it was.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        print(
            f"ann2snn: {error.filename or 'a file'}: {error.strerror or error}; mend that and run it again.",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
