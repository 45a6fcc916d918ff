"""The sweep that the command line describes."""

import ast
import re
from dataclasses import replace
from pathlib import Path

from ann2snn.errors import UserError, unknown


def sweep_of(options):
    """The sweep that the options describe."""
    from ann2snn.experiments.sweep import Sweep
    from ann2snn.methods.registry import find

    extra = dict(_parse_option(text) for text in options.option)
    if "reset" in extra:
        raise UserError("The reset rule is not an --option: choose it with --reset.")
    methods = []
    for name in options.method:
        takes_reset = "reset" in find(name).options
        for reset in options.reset if takes_reset else [None]:
            methods.append((name, extra | ({"reset": reset} if takes_reset else {})))
    return Sweep(
        id="sweep",
        dataset=options.dataset,
        networks=tuple(options.network),
        activations=tuple(options.activation),
        seeds=training_seeds(options),
        methods=tuple(methods),
        T=tuple(sorted(set(options.T))),
        calibration=options.calibration,
        calibration_seeds=tuple(options.calibration_seed),
        calibration_transform=options.calibration_transform,
        recipe=options.recipe,
    )


def sweep_first_images(n: int, scratch: Path, name, source, jobs, T, run, outcome) -> None:
    """Runs the jobs of a source on its first n images, with records in a temporary folder."""
    from ann2snn.experiments.sweep import sweep_source

    splits = {split: getattr(source.data, split) for split in ("test", "validation")}
    few = {split: images.subset(range(min(n, len(images)))) for split, images in splits.items()}
    source.data = replace(source.data, official=False, **few)
    sweep_source(name, source, jobs, T, replace(run, runs=scratch, wandb="off"), outcome)


def _parse_option(text: str) -> tuple[str, object]:
    """`NAME=VALUE` with the value as a Python literal, or as text if it is none."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--option takes NAME=VALUE, such as quantile=0.99, not {text!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def training_seeds(options) -> tuple[int | None, ...]:
    """The seeds of the trainings; (None,) for imported weights, whose recipe ends with the hash of their file."""
    from ann2snn.training.pretrained import CHECKPOINTS
    from ann2snn.training.recipes import RECIPES

    if options.recipe in (None, *RECIPES):
        seeds = [0] if options.seed is None else options.seed
        return tuple(seeds) if isinstance(seeds, list) else (seeds,)
    if not re.fullmatch(r".+-[0-9a-f]{8}", options.recipe):
        raise unknown("recipe", options.recipe, [*RECIPES, *(known.recipe for known in CHECKPOINTS.values())])
    if options.seed is not None:
        raise UserError(
            f"{options.recipe} are imported weights, which have no seed: leave out --seed, or choose one of the recipes"
            f" {', '.join(RECIPES)}."
        )
    return (None,)
