"""Which recipe trains a network without batch norm best: candidates, each a factor away from `bn_free`.

`python -m ann2snn.benchmarks.recipes --data-root FOLDER --epochs 1` trains each below `--root`, its whole schedule
squeezed into so many epochs, and prints the accuracies on the validation images; the test set is not read. A second run
goes on where the first was stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from ann2snn import training
from ann2snn.data import load
from ann2snn.pipeline import Source
from ann2snn.training import RECIPES, Recipe

FACTORS = {
    "bn_free": {},
    "forward variance kept": {"initialisation": "fan_in"},
    "forward variance kept, activations half": {"initialisation": "fan_in", "gamma": 0.5},
    "batch 64": {"batch_size": 64},
    "lr 0.1": {"lr": 0.1},
}


def squeezed(recipe: Recipe, epochs: int) -> Recipe:
    """The same schedule in so many epochs, under a name of its own."""
    warmup = recipe.warmup_epochs * epochs / recipe.epochs
    return replace(recipe, name=f"squeezed{epochs}", epochs=epochs, warmup_epochs=warmup)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--network", default="deng_vgg16")
    parser.add_argument("--activation", default="threshold_relu:1")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--factor", nargs="+", default=list(FACTORS), choices=list(FACTORS))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--root", type=Path, default=Path("runs"))
    parser.add_argument("--accept-unofficial-data", action="store_true")
    args = parser.parse_args()
    data = load(args.dataset, args.data_root, accept_unofficial=args.accept_unofficial_data)
    lines = []
    for factor in args.factor:
        recipe = squeezed(replace(RECIPES["bn_free"], **FACTORS[factor]), args.epochs)
        RECIPES[recipe.name] = recipe
        weights = training.train(data, args.network, args.activation, 0, args.root, recipe=recipe.name, device="cpu")
        source = Source(data, weights)
        found = source.result("validation")
        accuracy, minutes = 100 * found["correct"] / found["n"], source.info["training_seconds"] / 60
        lines.append([factor, args.epochs, f"{accuracy:.2f}", f"{minutes:.0f}"])
        print(tabulate(lines[-1:], tablefmt="plain"), flush=True)
    print(tabulate(lines, ["recipe", "epochs", "validation", "minutes"]))


if __name__ == "__main__":
    main()
