"""Search for the recipe that trains a network without batch norm best.

Candidates differ from the first in one or two settings.

`python -m ann2snn.benchmarks.studies.recipe_search --data-root FOLDER --epochs 1` trains each in `--root`, with its
schedule compressed to this number of epochs, and prints the accuracies on the validation images. The test set is not
read. A second run resumes. With the number of epochs of `bn_free`, the best candidate is `bn_free` itself.
"""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.exit_on_interrupt()  # before anything else is imported

import sys
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from ann2snn.cli.parsing import Parser, count
from ann2snn.cli.shared_options import add_data
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments.source import SourceANN
from ann2snn.training import train
from ann2snn.training.recipes import RECIPES, Recipe

FIRST = replace(RECIPES["bn_free"], lr=0.03, gamma=None, augmentation="crop_flip")
FACTORS = {
    "lr 0.03, He's start": {},
    "fan-out": {"initialisation": "network"},
    "activations half as large": {"gamma": 0.5},
    "batch 64": {"batch_size": 64},
    "lr 0.1": {"lr": 0.1},
    "lr 0.1, activations half as large": {"lr": 0.1, "gamma": 0.5},
    "lr 0.1, no crops and flips": {"lr": 0.1, "augmentation": None},
}


def squeezed(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with its schedule compressed to `epochs`, under another name if the number differs."""
    if epochs == recipe.epochs:
        return recipe
    warmup = recipe.warmup_epochs * epochs / recipe.epochs
    return replace(recipe, name=f"squeezed{epochs}", epochs=epochs, warmup_epochs=warmup)


def candidates(options) -> str:
    """A table of the candidates with the validation accuracy of training seed 0."""
    data = load(options.dataset, options.data_root, accept_unofficial=options.accept_unofficial_data)
    lines = []
    for factor in options.factor:
        recipe = squeezed(replace(FIRST, **FACTORS[factor]), options.epochs)
        weights = train.train(
            data, options.network, options.activation, 0, options.root, recipe=recipe, device=options.device
        )
        source = SourceANN(data, weights)
        result = source.result("validation")
        minutes = source.info["training_seconds"] / 60
        lines.append([factor, f"{100 * result['correct'] / result['n']:.2f}", f"{minutes:.1f}"])
        print(*lines[-1], sep="  ", file=sys.stderr, flush=True)
    headers = [f"{options.network}, {options.activation}, epochs: {options.epochs}", "validation", "minutes"]
    return tabulate(lines, headers, disable_numparse=True)


def main() -> int:
    """Trains the candidates and prints their table."""
    parser = Parser(description=__doc__)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--network", default="deng_vgg16")
    parser.add_argument("--activation", default="threshold_relu:1")
    parser.add_argument("--epochs", type=count, default=1)
    parser.add_argument("--factor", nargs="+", default=list(FACTORS), choices=list(FACTORS))
    add_data(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--root", type=Path, default=Path("runs"))
    try:
        print(candidates(parser.parse_args()))
    except UserError as error:
        print(f"recipes: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
