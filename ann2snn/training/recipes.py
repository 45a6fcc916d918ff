"""How sources are trained: recipes by name, each under a key of all that it says."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Literal

from ann2snn.errors import unknown


@dataclass(frozen=True)
class Start:
    """The trained source of the same data and seed that a training goes on from.

    Batch norms that the network to train does not have are folded into the convolutions before them.
    """

    recipe: str
    network: str = "{}"  # {} stands for the network to train
    activation: str | None = None  # None: the same


@dataclass(frozen=True)
class Recipe:
    """How a source is trained: cross-entropy, SGD with momentum, all epochs; the last epoch is the model."""

    name: str
    epochs: int
    batch_size: int
    lr: float  # after the warm-up
    momentum: float = 0.9
    weight_decay: float = 5e-4  # not of biases and batch norm
    warmup_epochs: float = 1.0
    schedule: Literal["cosine", "linear", "steps"] = "cosine"  # to zero; steps: a tenth from each milestone on
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0  # norm; 0 is none
    augmentation: str | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # Lightning's names
    channels_last: bool = False
    milestones: tuple[int, ...] = ()  # epochs
    nesterov: bool = True
    decay_all: bool = False  # weight decay of biases and batch norm too
    initialisation: Literal["network", "torch", "fan_in"] = "network"  # its own, PyTorch's default of every layer, He's
    gamma: float | None = None  # activations start gamma times as large; all but the clip as with y_th / gamma
    start: Start | None = None
    half: bool = False  # round the finished weights to half precision, before anything is measured

    @property
    def key(self) -> str:
        """`<name>-<hash of every field>`. Fields that came after the first records count where they are used."""
        used = asdict(self)
        for field in fields(self)[FIRST:]:
            if getattr(self, field.name) == field.default:
                del used[field.name]
        if self.start:
            used["start"]["recipe"] = RECIPES[self.start.recipe].key
        return f"{self.name}-{hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]}"

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, relative to `lr`: linear warm-up, then the schedule. No state."""
        warmup, total = self.warmup_epochs * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "steps":
            return 0.1 ** sum(step >= epoch * steps_per_epoch for epoch in self.milestones)
        progress = (step - warmup) / max(total - warmup, 1)
        return {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[self.schedule]


FIRST = 13  # fields of Recipe when the first records were made
# recipes that share fields
cifar_recipe = partial(Recipe, augmentation="crop_flip", precision="bf16-mixed", channels_last=True)
bn_free_recipe = partial(
    Recipe, batch_size=128, schedule="linear", gradient_clip=1.0, precision="bf16-mixed", channels_last=True
)
deng_recipe = partial(
    Recipe,
    batch_size=128,
    augmentation="crop_flip",
    warmup_epochs=0.0,
    schedule="steps",
    milestones=(100, 140, 240),
    nesterov=False,
    decay_all=True,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("digits", epochs=40, batch_size=64, lr=0.1, weight_decay=2e-3, label_smoothing=0.1),
        Recipe("default", epochs=30, batch_size=128, lr=0.05, gradient_clip=1.0),
        # networks with batch norm, narrow and wide
        # (from a scale of 1 a threshold of 1 clips a sixth of all units; with gamma it learns as a ReLU network does)
        cifar_recipe("cifar", epochs=30, batch_size=64, lr=0.1, schedule="linear", gamma=0.25, half=True),
        cifar_recipe("cifar_short", epochs=8, batch_size=128, lr=0.1, schedule="linear"),
        # networks without it: from scratch (searched for: benchmarks/recipes.py), and from their folded twins: the
        # paper's VGG-16 in two hours on two CPU cores, the twin's training included
        bn_free_recipe("bn_free", epochs=7, lr=0.1, initialisation="fan_in"),
        # a longer bn_free with crops and flips, for sources near the accuracies of the paper; in float32, so that CPUs
        # without bfloat16 instructions can train it too
        bn_free_recipe(
            "bn_free_long",
            epochs=30,
            lr=0.1,
            initialisation="fan_in",
            augmentation="crop_flip",
            half=True,
            precision="32-true",
        ),
        bn_free_recipe(
            "bn_removed",
            epochs=4,
            lr=0.01,
            augmentation="crop_flip",
            start=Start("cifar_short", "{}_bn"),
        ),
        # from a trained ReLU network to another activation
        cifar_recipe(
            "tuned",
            epochs=5,
            batch_size=128,
            lr=0.02,
            schedule="linear",
            half=True,
            start=Start("cifar", activation="relu"),
        ),
        # the paper's, as its text has it (rate and epochs from memory) and as the defaults of its code are
        deng_recipe("deng2021", epochs=300, lr=0.01),
        deng_recipe("deng2021_code", epochs=200, lr=1e-3, initialisation="torch"),
        # ours: the paper has results on ImageNet and no recipe for them
        bn_free_recipe("imagenet", epochs=90, lr=0.05, augmentation="crop_flip"),
    )
}
DEFAULTS = {
    "deng_cifarnet": "bn_free",
    "deng_vgg16": "bn_free",
    "deng_resnet20": "bn_free",
    "deng_vgg16_bn": "cifar_short",
    "deng_resnet20_bn": "cifar_short",
    "cifar_resnet18": "cifar_short",
    "cifar_resnet34": "cifar_short",
    "cifar_vgg16": "cifar_short",
    "deng_vgg16_imagenet": "imagenet",
}


def recipe_of(dataset: str, network: str, name: str | None = None) -> Recipe:
    """The recipe of this name, else that of the pair. UserError for an unknown name."""
    if name is None and dataset == "digits":
        name = "digits"
    name = name or DEFAULTS.get(network, "cifar" if dataset.startswith("cifar") else "default")
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
