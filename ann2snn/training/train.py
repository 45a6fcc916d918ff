"""Source networks, trained once by their recipe and kept under the key of all that they depend on."""

import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ann2snn.devices import resolve_device
from ann2snn.files import exclusive_lock, remove
from ann2snn.training.checkpoints import aside, describe, load_source, resumable, save_source, untrained, weights_file
from ann2snn.training.initialization import _continue, _rescale, _reset, _round
from ann2snn.training.recipes import RECIPES, Recipe, recipe_of


def train(
    data, network: str, activation: str, seed: int, root, *, recipe=None, device="auto", logger=None, progress=True
) -> Path:
    """The path of a finished source under `root`: found, or resumed after its last whole epoch, or trained anew.

    `recipe` is the name of one of RECIPES, by default the one of dataset and network; the source that it starts from is
    trained first. A run that was killed and resumed gives the same weights bit for bit as one that was not (same
    machine and threads). `data.test` is never touched. `logger(info)`, called where there is something to train, makes
    a Lightning logger for loss, accuracies and learning rate of every epoch; the caller's random state stays as it was.
    Of several processes one trains, and the others wait for its weights. A damaged checkpoint is put aside, and the
    training starts again.
    UserError: an unknown device, network or recipe, a training that diverges.
    """
    plan, info = recipe_of(data.name, network, recipe), describe(data, network, activation, seed, recipe)
    weights, device = weights_file(data, network, activation, seed, root, recipe), resolve_device(device)
    checkpoint = weights.with_name("last.ckpt")
    if weights.exists() and len(list(weights.parent.iterdir())) == 1:
        return weights
    net = untrained(info, seed)
    label = f"{data.name} {network} {activation} seed {seed}"
    how = {"device": device, "logger": logger, "progress": progress}

    def waiting():
        print(f"{label}: another process trains it; waiting for its weights", file=sys.stderr, flush=True)

    with exclusive_lock(weights.with_name(".lock"), waiting):
        if not weights.exists():
            _initialise(net, plan, data, network, activation, seed, root, how)
            told = _fit(net, plan, info, data, seed, checkpoint, label, **how)
            save_source(net, info | told | {"hyperparameters": asdict(plan)}, weights)
        for leftover in (checkpoint, aside(checkpoint)):
            remove(leftover)
    return weights


def _initialise(net: nn.Module, plan: Recipe, data, network: str, activation: str, seed: int, root, how: dict) -> None:
    """The weights that the training begins with; the source that they come from is trained first."""
    if plan.initialisation != "network":
        _reset(net, seed, plan.initialisation)
    if plan.gamma is not None:
        _rescale(net, plan.gamma)
    if start := plan.start:
        before = start.network.format(network), start.activation or activation
        trained = load_source(train(data, *before, seed, root, recipe=start.recipe, **how))[0]
        _continue(net, network, trained, unit=RECIPES[start.recipe].gamma or 1.0)


def _fit(
    net: nn.Module, plan: Recipe, info: dict, data, seed: int, checkpoint: Path, label: str, *, device, logger, progress
) -> dict:
    """Trains `net` in place; returns what a source tells of its training."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        resumed = resumable(checkpoint, net)
        if progress:
            print(f"{label}: training{' goes on' if resumed else ''}", file=sys.stderr, flush=True)
        from ann2snn.training import lightning_module  # which takes seconds

        how = {"device": device, "logger": logger and logger(info), "progress": progress, "label": label}
        told = lightning_module.fit(net, data, plan, seed, checkpoint, **how)
    if plan.half:
        _round(net)
    return told
