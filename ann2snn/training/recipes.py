"""Training recipes of source networks. The key of a recipe contains a hash of its hyper-parameters."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ann2snn.errors import unknown


@dataclass(frozen=True)
class WarmStart:
    """The trained source, of the same data and seed, that a training starts from.

    Batch norms that the network to train does not have are folded into the convolutions before them.
    """

    recipe: str
    network: str = "{}"  # {} is replaced by the name of the network to train
    activation: str | None = None  # None: the same


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a training: SGD with momentum on the cross-entropy. The last epoch is the model."""

    name: str
    epochs: int
    batch_size: int
    lr: float  # after the warm-up
    momentum: float = 0.9
    weight_decay: float = 5e-4  # of weights only, unless decay_all
    warmup_epochs: float = 1.0
    schedule: Literal["cosine", "linear", "steps"] = "cosine"  # to 0; "steps": divides lr by 10 at each milestone
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0  # maximum norm of the gradient; 0 disables clipping
    augmentation: str | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # Lightning's names
    channels_last: bool = False
    milestones: tuple[int, ...] = ()  # in epochs, for schedule "steps"
    nesterov: bool = True
    decay_all: bool = False  # also decay biases and batch norm
    initialisation: Literal["network", "torch", "fan_in"] = "network"  # its own, PyTorch's default or He's
    gamma: float | None = None  # initial scale of the activations; trains as threshold y_th / gamma would
    start: WarmStart | None = None
    half: bool = False  # round the trained weights to half precision

    @property
    def key(self) -> str:
        """`<name>-<hash8>`, a hash of all fields.

        Fields that were added after the first records were made are hashed only if they differ from their default.
        """
        used = asdict(self)
        for field in fields(self)[ORIGINAL_FIELDS:]:
            if getattr(self, field.name) == field.default:
                del used[field.name]
        if self.start:
            used["start"]["recipe"] = RECIPES[self.start.recipe].key
        return f"{self.name}-{hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]}"

    def lr_factor(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, relative to `lr`: a linear warm-up, then the schedule.

        Args:
            step: Optimizer step, from 0.
            steps_per_epoch: Batches of an epoch.
        """
        warmup, total = self.warmup_epochs * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "steps":
            return 0.1 ** sum(step >= epoch * steps_per_epoch for epoch in self.milestones)
        progress = (step - warmup) / max(total - warmup, 1)
        return {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[self.schedule]


ORIGINAL_FIELDS = 13  # number of fields when the first records were made
FAST: dict[str, Any] = {"precision": "bf16-mixed", "channels_last": True}
CIFAR: dict[str, Any] = {"augmentation": "crop_flip", **FAST}
BN_FREE: dict[str, Any] = FAST | {"batch_size": 128, "schedule": "linear", "gradient_clip": 1.0}
BN_FREE_FLOAT32: dict[str, Any] = BN_FREE | {"precision": "32-true"}
DENG: dict[str, Any] = {
    "batch_size": 128,
    "augmentation": "crop_flip",
    "warmup_epochs": 0.0,
    "schedule": "steps",
    "milestones": (100, 140, 240),
    "nesterov": False,
    "decay_all": True,
}
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("digits", epochs=40, batch_size=64, lr=0.1, weight_decay=2e-3, label_smoothing=0.1),
        Recipe("default", epochs=30, batch_size=128, lr=0.05, gradient_clip=1.0),
        # Networks with batch norm, narrow and wide. With the default scale a threshold of 1 clips a sixth of all units;
        # with this gamma the network trains as a ReLU network does.
        Recipe("cifar", epochs=30, batch_size=64, lr=0.1, schedule="linear", gamma=0.25, half=True, **CIFAR),
        Recipe("cifar_short", epochs=8, batch_size=128, lr=0.1, schedule="linear", **CIFAR),
        # Networks without batch norm: from scratch (found by benchmarks/studies/recipe_search.py), and from their twins
        # with folded batch norm, which trains the paper's VGG-16 in two hours on two CPU cores, twin included.
        Recipe("bn_free", epochs=7, lr=0.1, initialisation="fan_in", **BN_FREE),
        # A longer bn_free with crops and flips, for accuracies near those of the paper. float32 also trains on CPUs
        # without bfloat16 instructions.
        Recipe(
            "bn_free_long",
            epochs=30,
            lr=0.1,
            initialisation="fan_in",
            augmentation="crop_flip",
            half=True,
            **BN_FREE_FLOAT32,
        ),
        Recipe(
            "bn_removed",
            epochs=4,
            lr=0.01,
            augmentation="crop_flip",
            start=WarmStart("cifar_short", "{}_bn"),
            **BN_FREE,
        ),
        # From a trained ReLU network to another activation.
        Recipe(
            "tuned",
            epochs=5,
            batch_size=128,
            lr=0.02,
            schedule="linear",
            half=True,
            start=WarmStart("cifar", activation="relu"),
            **CIFAR,
        ),
        # The paper's recipe: from its text (learning rate and epochs from memory), and the defaults of its code.
        Recipe("deng2021", epochs=300, lr=0.01, **DENG),
        Recipe("deng2021_code", epochs=200, lr=1e-3, initialisation="torch", **DENG),
        # Our own: the paper reports results on ImageNet but no recipe.
        Recipe("imagenet", epochs=90, lr=0.05, augmentation="crop_flip", **BN_FREE),
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


def recipe_of(dataset: str, network: str, name: str | Recipe | None = None) -> Recipe:
    """The recipe called `name`, or by default that of the dataset and network. A `Recipe` is returned as it is.

    Raises:
        UserError: There is no recipe of this name.
    """
    if isinstance(name, Recipe):
        return name
    if name is None and dataset == "digits":
        name = "digits"
    name = name or DEFAULTS.get(network, "cifar" if dataset.startswith("cifar") else "default")
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
