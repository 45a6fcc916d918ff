"""Layer names of published codes, for importing their state dicts when no hash of a file is known.

Names, biases and normalisations were taken from the code at each `url`, not from released files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ann2snn.data.cifar import CIFAR10, CIFAR100
from ann2snn.data.imagenet import IMAGENET
from ann2snn.data.split import Normalise

QCFS_CIFAR100 = Normalise((129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255))


@dataclass(frozen=True)
class Format:
    """Naming scheme of the state dicts that a published code writes."""

    url: str
    activations: tuple[str, ...]  # that its networks have; the file does not hold their arguments
    normalise: dict[str, Normalise]  # of the training images, by dataset
    layers: dict[str, Sequence[str]]  # by our network: the layers with weights, in our order
    renamed: tuple[tuple[str, str], ...] = ()  # (old, new) parts of names of earlier versions


def stages(names: str, blocks: tuple[int, ...], parts: str, shortcut: str) -> list[str]:
    """Layer names of a ResNet's blocks.

    Args:
        names: Stages, separated by spaces.
        blocks: Number of blocks per stage.
        parts: Layers of a block, separated by spaces.
        shortcut: Prefix of layers that only the first block of a stage has, except in the first stage.
    """
    return [
        f"{stage}.{block}.{part}"
        for i, (stage, n) in enumerate(zip(names.split(), blocks, strict=True))
        for block in range(n)
        for part in parts.split()
        if (i > 0 and block == 0) or not part.startswith(shortcut)
    ]


DENG_VGG = "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3"
LI_VGG = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)  # convolutions; each is followed by its batch norm
LI_BLOCK = "conv1 bn1 conv2 bn2 downsample.0 downsample.1"
QCFS_VGG = [
    *(f"layer{group}.{index}" for group in (1, 2) for index in (0, 1, 2, 4, 5, 6)),
    *(f"layer{group}.{index}" for group in (3, 4, 5) for index in (0, 1, 2, 4, 5, 6, 8, 9, 10)),
    *(f"classifier.{index}" for index in (1, 2, 4, 5, 7)),
]
QCFS_STAGES = "conv2_x conv3_x conv4_x conv5_x"
QCFS_BLOCK = " ".join(f"residual_function.{index}" for index in range(5)) + " shortcut.0 shortcut.1 act"


def qcfs_resnet(*blocks: int) -> list[str]:
    """Names of the layers of a QCFS ResNet with these numbers of blocks."""
    names = " ".join(QCFS_STAGES.split()[: len(blocks)])
    return ["conv1.0", "conv1.1", "conv1.2", *stages(names, blocks, QCFS_BLOCK, "shortcut"), "fc"]


FORMATS = {
    # Only the names of the released files hold the threshold, such as vgg16-cifar10-relu[1]: 1 for CIFAR-10, 2 for
    # CIFAR-100, 3 for ImageNet. The ImageNet layer names are those of the copy in bjourne/FTBC-tmp, which loads that
    # file.
    "deng2021": Format(
        url="https://github.com/Jackn0/snn_optimal_conversion_pipeline",
        activations=("threshold_relu", "relu"),
        normalise={"cifar10": CIFAR10, "cifar100": CIFAR100, "imagenet": IMAGENET},
        layers={
            "deng_cifarnet": ["conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2", "fc3"],
            "deng_vgg16": f"{DENG_VGG} fc1 fc2 fc3".split(),
            "deng_vgg16_imagenet": f"{DENG_VGG} fc1 fc2 fc3".split(),
            "deng_resnet20": [
                *("pre_process.0", "pre_process.3", "pre_process.6"),
                *stages(
                    "layer1 layer2 layer3 layer4", (2, 2, 2, 2), "residual.0 residual.3 identity.0", shortcut="identity"
                ),
                "classifier.0",
            ],
        },
    ),
    "snn_calibration": Format(  # CIFAR networks trained with --usebn
        url="https://github.com/yhhhli/SNN_Calibration",
        activations=("relu",),
        normalise={"cifar10": CIFAR10, "cifar100": CIFAR100},
        layers={
            "cifar_vgg16": [*(f"features.{index + i}" for index in LI_VGG for i in (0, 1)), "classifier"],
            "li_resnet20": [
                "conv1",
                "bn1",
                *stages("layer1 layer2 layer3", (3, 3, 3), LI_BLOCK, shortcut="downsample"),
                "fc",
            ],
        },
    ),
    "qcfs": Format(  # no file holds L; an older version is putshua/SNN_conversion_QCFS
        url="https://github.com/putshua/ANN_SNN_QCFS",
        activations=("qcfs",),
        normalise={"cifar10": CIFAR10, "cifar100": QCFS_CIFAR100, "imagenet": IMAGENET},
        layers={
            "qcfs_vgg16": QCFS_VGG,
            "qcfs_vgg16_imagenet": QCFS_VGG,
            "qcfs_resnet20": qcfs_resnet(3, 3, 3),
            "cifar_resnet18": qcfs_resnet(2, 2, 2, 2),
            "cifar_resnet34": qcfs_resnet(3, 4, 6, 3),
        },
        renamed=((".relu.up", ".act.thresh"), (".up", ".thresh")),
    ),
}


def translate(state: dict[str, Tensor], form: Format, network: str, net: nn.Module) -> dict[str, Tensor]:
    """Renames the entries of a published state dict to those of our network.

    Where their convolution has a bias before a batch norm and ours has none, the bias is subtracted from the running
    mean, which gives the same function.

    Args:
        state: State dict with the names of `form`.
        form: Its naming scheme.
        network: Name of our network.
        net: Our network.

    Returns:
        State dict of `net`.

    Raises:
        ValueError: An entry is missing, superfluous, not finite or of another shape.
    """
    for old, new in form.renamed:
        state = {key.replace(old, new): value for key, value in state.items()}
    remaining = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    translated = {}
    ours = [(path, module) for path, module in net.named_modules() if [*module.parameters(recurse=False)]]
    previous = ""
    for (path, module), layer in zip(ours, form.layers[network], strict=True):
        for name, value in module.state_dict().items():
            if name != "num_batches_tracked":
                value = _pop(remaining, f"{layer}.{'thresh' if name == 'y_th' else name}", like=value)
            if name == "running_mean" and f"{previous}.bias" in remaining:
                value = value - _pop(remaining, f"{previous}.bias", like=value)
            translated[f"{path}.{name}"] = value
        previous = layer
    if remaining:
        raise ValueError(f"{next(iter(remaining))} is one too many")
    return translated


def _pop(state: dict[str, Tensor], key: str, like: Tensor) -> Tensor:
    """Removes an entry from `state` and checks it; returned with the dtype and shape of `like`."""
    if key not in state:
        raise ValueError(f"{key} is missing")
    value = state.pop(key).to(like.dtype)
    if not value.isfinite().all():
        raise ValueError(f"{key} has a NaN or an infinity")
    if like.dim() == 0 and value.numel() == 1:  # their thresholds have shape (1,)
        value = value.reshape(())
    if value.shape != like.shape:
        raise ValueError(f"{key} is {tuple(value.shape)}, not {tuple(like.shape)}")
    return value
