"""Reads the runs that W&B wrote."""

import json
import subprocess
import sys


def runs(directory):
    return sorted((directory / "wandb").glob("*run-*"))


def inspect(run, *options):
    """JSON objects that `wandb leet inspect` prints for the folder of a run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(run)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(output)] if options else [json.loads(line) for line in output.splitlines()]


def history(run):
    """The rows that were logged, without W&B's own fields."""
    items = [line["history"]["item"] for line in inspect(run) if line["type"] == "history"]
    return [{name: value for name, value in item.items() if not name.startswith("_")} for item in items]
