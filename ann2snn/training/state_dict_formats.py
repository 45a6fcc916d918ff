"""What authors call the layers of networks that are here too: for state dicts whose files cannot be pinned by a hash.

Names, biases and normalisations were read in the code at each `url`, not in the files.
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
    """How authors name the weights of their networks."""

    url: str
    activations: tuple[str, ...]  # of the networks; their arguments are not in the file
    normalise: dict[str, Normalise]  # the images in the training, by dataset
    layers: dict[str, Sequence[str]]  # by our network: what has weights, in the order of ours
    old: tuple[tuple[str, str], ...] = ()  # parts of names that earlier versions had, and what they became


def stages(names: str, blocks: tuple[int, ...], parts: str, shortcut: str) -> list[str]:
    """The parts of every block; only the first of a stage has the shortcut, and that of the first stage has not."""
    return [
        f"{stage}.{block}.{part}"
        for i, (stage, n) in enumerate(zip(names.split(), blocks, strict=True))
        for block in range(n)
        for part in parts.split()
        if (i > 0 and block == 0) or not part.startswith(shortcut)
    ]


DENG_VGG = "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3"
LI_VGG = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)  # convolutions; each with its batch norm after it
LI_BLOCK = "conv1 bn1 conv2 bn2 downsample.0 downsample.1"
QCFS_VGG = [
    *(f"layer{group}.{place}" for group in (1, 2) for place in (0, 1, 2, 4, 5, 6)),
    *(f"layer{group}.{place}" for group in (3, 4, 5) for place in (0, 1, 2, 4, 5, 6, 8, 9, 10)),
    *(f"classifier.{place}" for place in (1, 2, 4, 5, 7)),
]
QCFS_STAGES = "conv2_x conv3_x conv4_x conv5_x"
QCFS_BLOCK = " ".join(f"residual_function.{place}" for place in range(5)) + " shortcut.0 shortcut.1 act"


def qcfs_resnet(*blocks: int) -> list[str]:
    names = " ".join(QCFS_STAGES.split()[: len(blocks)])
    return ["conv1.0", "conv1.1", "conv1.2", *stages(names, blocks, QCFS_BLOCK, "shortcut"), "fc"]


FORMATS = {
    # The threshold is in the names of the released files alone, such as vgg16-cifar10-relu[1]: 1 for CIFAR-10, 2 for
    # CIFAR-100, 3 for ImageNet, whose names are those of the copy in bjourne/FTBC-tmp that loads its file.
    "deng2021": Format(
        url="https://github.com/Jackn0/snn_optimal_conversion_pipeline",
        activations=("threshold_relu", "relu"),
        normalise={"cifar10": CIFAR10, "cifar100": CIFAR100, "imagenet": IMAGENET},
        layers={
            "deng_cifarnet": "conv1 conv2 conv3 conv4 conv5 fc1 fc2 fc3".split(),
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
    "snn_calibration": Format(  # its CIFAR networks trained with --usebn
        url="https://github.com/yhhhli/SNN_Calibration",
        activations=("relu",),
        normalise={"cifar10": CIFAR10, "cifar100": CIFAR100},
        layers={
            "cifar_vgg16": [*(f"features.{place + i}" for place in LI_VGG for i in (0, 1)), "classifier"],
            "li_resnet20": [
                "conv1",
                "bn1",
                *stages("layer1 layer2 layer3", (3, 3, 3), LI_BLOCK, shortcut="downsample"),
                "fc",
            ],
        },
    ),
    "qcfs": Format(  # L is in no file; its older version is putshua/SNN_conversion_QCFS
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
        old=((".relu.up", ".act.thresh"), (".up", ".thresh")),
    ),
}


def translate(state: dict[str, Tensor], form: Format, network: str, net: nn.Module) -> dict[str, Tensor]:
    """The state dict of `net`, our `network`, from one in the authors' names.

    A bias that stands before a batch norm, where ours has none, is taken off that one's mean: the same function.
    ValueError: what differs first.
    """
    for old, new in form.old:
        state = {key.replace(old, new): value for key, value in state.items()}
    left, found = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}, {}
    ours = [(place, module) for place, module in net.named_modules() if [*module.parameters(recurse=False)]]
    before = ""
    for (place, module), layer in zip(ours, form.layers[network], strict=True):
        for name, own in module.state_dict().items():
            if name != "num_batches_tracked":
                own = _take(left, f"{layer}.{'thresh' if name == 'y_th' else name}", own)
            if name == "running_mean" and f"{before}.bias" in left:
                own = own - _take(left, f"{before}.bias", own)
            found[f"{place}.{name}"] = own
        before = layer
    if left:
        raise ValueError(f"{next(iter(left))} is one too many")
    return found


def _take(left: dict[str, Tensor], key: str, own: Tensor) -> Tensor:
    if key not in left:
        raise ValueError(f"{key} is missing")
    value = left.pop(key).to(own.dtype)
    if not value.isfinite().all():
        raise ValueError(f"{key} has a NaN or an infinity")
    if own.dim() == 0 and value.numel() == 1:  # a threshold, theirs of shape (1,)
        value = value.reshape(())
    if value.shape != own.shape:
        raise ValueError(f"{key} is {tuple(value.shape)}, not {tuple(own.shape)}")
    return value
