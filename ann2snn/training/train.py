"""Training of source networks. A finished source is reused wherever its recipe and data are the same."""

import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ann2snn.devices import resolve_device
from ann2snn.files import exclusive_lock, remove
from ann2snn.training.checkpoints import (
    can_resume,
    damaged_path,
    load_source,
    save_source,
    untrained_network,
    weights_file,
)
from ann2snn.training.initialization import load_warm_start, rescale_activations, reset_parameters, round_to_half
from ann2snn.training.recipes import RECIPES, Recipe, recipe_of
from ann2snn.training.source_info import source_info


def train(
    data, network: str, activation: str, seed: int, root, *, recipe=None, device="auto", logger=None, progress=True
) -> Path:
    """Trains a source network, unless its weights exist already.

    An interrupted training resumes after its last complete epoch, with the same weights bit for bit as an
    uninterrupted one on the same machine and number of threads. A damaged checkpoint is renamed and the training
    starts again. Of several processes one trains, and the others wait for its weights. `data.test` is never used, and
    the caller's random state does not change.

    Args:
        data: The `ImageDataset` to train and validate on.
        network: Name of the network.
        activation: Activation spec, such as `threshold_relu:1`.
        seed: Training seed.
        root: Folder of all results.
        recipe: A `Recipe`, or a name in `RECIPES`; None for the default of dataset and network. A source that
            it warm-starts from is trained first.
        device: "auto", "cpu" or "cuda".
        logger: Called as `logger(info)` if there is something to train; returns a Lightning logger for loss,
            accuracies and learning rate of every epoch.
        progress: Whether to show progress on stderr.

    Returns:
        Path of the weights below `root`.

    Raises:
        UserError: A device, network or recipe is unknown, or the training diverges.
    """
    plan = recipe_of(data.name, network, recipe)
    info = source_info(data, network, activation, seed, recipe)
    weights = weights_file(data, network, activation, seed, root, recipe)
    device = resolve_device(device)
    checkpoint = weights.with_name("last.ckpt")
    if weights.exists() and len(list(weights.parent.iterdir())) == 1:
        return weights
    net = untrained_network(info, seed)
    label = f"{data.name} {network} {activation} seed {seed}"
    options = {"device": device, "logger": logger, "progress": progress}

    def report_waiting():
        print(f"{label}: another process trains it; waiting for its weights", file=sys.stderr, flush=True)

    with exclusive_lock(weights.with_name(".lock"), report_waiting):
        if not weights.exists():
            _initialise(net, plan, data, network, activation, seed, root, options)
            report = _fit(net, plan, info, data, seed, checkpoint, label, **options)
            save_source(net, info | report | {"hyperparameters": asdict(plan)}, weights)
        for leftover in (checkpoint, damaged_path(checkpoint)):
            remove(leftover)
    return weights


def _initialise(
    net: nn.Module, plan: Recipe, data, network: str, activation: str, seed: int, root, options: dict
) -> None:
    """Sets the initial weights of the recipe; trains the source of a warm start first."""
    if plan.initialisation != "network":
        reset_parameters(net, seed, plan.initialisation)
    if plan.gamma is not None:
        rescale_activations(net, plan.gamma)
    if start := plan.start:
        names = start.network.format(network), start.activation or activation
        trained, _ = load_source(train(data, *names, seed, root, recipe=start.recipe, **options))
        load_warm_start(net, network, trained, scale=RECIPES[start.recipe].gamma or 1.0)


def _fit(
    net: nn.Module, plan: Recipe, info: dict, data, seed: int, checkpoint: Path, label: str, *, device, logger, progress
) -> dict:
    """Trains `net` in place. Returns the fields that the training adds to the info of the source."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        resumes = can_resume(checkpoint, net)
        if progress:
            print(f"{label}: training{' resumes' if resumes else ''}", file=sys.stderr, flush=True)
        from ann2snn.training import lightning_module  # takes seconds to import

        options = {"device": device, "logger": logger and logger(info), "progress": progress, "label": label}
        report = lightning_module.fit(net, data, plan, seed, checkpoint, **options)
    if plan.half:
        round_to_half(net)
    return report
