"""Networks for CIFAR with batch norm: He's family of ResNets, and the wider networks that later papers convert."""

from torch import Tensor, nn

from ann2snn.networks.blocks import BasicBlock, PaddingShortcut, init_kaiming
from ann2snn.networks.deng import VGG16, plain
from ann2snn.networks.registry import network


@network(shape=(3, 32, 32))
def cifar_resnet20(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """He's ResNet-20 for CIFAR: 3 stages of 3 blocks, 16-32-64 channels, batch norm, shortcut option A.

    269,722 parameters at 3 channels and 10 classes, 40,551,040 MACs. The parameter names are those of
    akamaster/pytorch_resnet_cifar10, so that its checkpoints load. Three other networks have the same name: Deng & Gu's
    ResNet-20 (`deng_resnet20`: 64 to 512 channels, no batch norm, 11.25 M parameters), Li et al.'s (`li_resnet20`:
    64-128-256 channels) and that of QCFS (`qcfs_resnet20`: option B). Input (B, in_chans, 32, 32).
    """
    return CifarResNet(3, num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def cifar_resnet32(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """`cifar_resnet20` with 5 blocks in every stage: 464,154 parameters, 68,862,592 MACs."""
    return CifarResNet(5, num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def cifar_resnet44(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """`cifar_resnet20` with 7 blocks in every stage: 658,586 parameters, 97,174,144 MACs."""
    return CifarResNet(7, num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def cifar_resnet56(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """`cifar_resnet20` with 9 blocks in every stage: 853,018 parameters, 125,485,696 MACs."""
    return CifarResNet(9, num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def cifar_resnet18(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """He's ResNet-18 with a stem for CIFAR: one 3x3 convolution and no pool; 64 to 512 channels, 1x1 shortcuts.

    11,173,962 parameters at 3 channels and 10 classes, 555,422,720 MACs. It is the ResNet-18 of QCFS (Bu et al. 2022).
    """
    return _resnet((2, 2, 2, 2), num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def cifar_resnet34(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """`cifar_resnet18` with 3, 4, 6 and 3 blocks: 21,282,122 parameters, 1,159,402,496 MACs.

    QCFS also uses it for ImageNet, with this stem at 224x224.
    """
    return _resnet((3, 4, 6, 3), num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def li_resnet20(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """Li et al.'s ResNet-20 (2021): 3 stages of 3 blocks like He's, but with 64-128-256 channels and 1x1 shortcuts.

    4,327,754 parameters at 3 channels and 10 classes, 647,694,848 MACs: 16 times those of `cifar_resnet20`.
    """
    return _resnet((3, 3, 3), num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def qcfs_resnet20(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """The ResNet-20 of QCFS (Bu et al. 2022): `cifar_resnet20` with 1x1 shortcuts, He's option B.

    272,474 parameters at 3 channels and 10 classes, 40,813,184 MACs.
    """
    return _resnet((3, 3, 3), num_classes, in_chans, act_layer, width=16)


@network(shape=(3, 32, 32))
def cifar_vgg16(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """VGG-16 as Li et al. (2021) convert it: 13 3x3 convolutions, batch norm, 5 average pools, 1 linear layer of 512.

    14,724,042 parameters at 3 channels and 10 classes, 313,201,664 MACs. Theirs also has 4,224 biases before the
    batch norms, which have no effect. The VGG-16 of QCFS is `qcfs_vgg16`, that of Deng & Gu `deng_vgg16`.
    """
    return plain(VGG16, (), num_classes, in_chans, act_layer, norm=nn.BatchNorm2d)


@network(shape=(3, 32, 32))
def qcfs_vgg16(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """The VGG-16 of QCFS (Bu et al. 2022): `cifar_vgg16` with two more linear layers of 4096 features.

    33,642,442 parameters at 3 channels and 10 classes, 332,111,872 MACs. Like theirs it has no dropout.
    """
    return plain(VGG16, (4096, 4096), num_classes, in_chans, act_layer, norm=nn.BatchNorm2d)


@network(shape=(3, 224, 224))
def qcfs_vgg16_imagenet(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """`qcfs_vgg16` for ImageNet: 138,361,768 parameters at 3 channels and 1000 classes, 15,470,264,320 MACs."""
    return plain(VGG16, (4096, 4096), num_classes, in_chans, act_layer, norm=nn.BatchNorm2d, size=224)


def _resnet(blocks: tuple[int, ...], num_classes: int, in_chans: int, act_layer, *, width: int = 64) -> nn.Module:
    """A 3x3 convolution, stages of basic blocks whose channels double from stage to stage, a global average pool."""
    layers: list[nn.Module] = [nn.Conv2d(in_chans, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), act_layer()]
    in_width = width
    for stage, n in enumerate(blocks):
        out_width = width << stage
        for _ in range(n):
            layers.append(BasicBlock(in_width, out_width, 1 if in_width == out_width else 2, act_layer))
            in_width = out_width
    return init_kaiming(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_width, num_classes)))


class CifarResNet(nn.Module):
    """6n + 2 layers: a convolution, three stages of n blocks, a global average pool, a linear layer."""

    def __init__(self, n: int, num_classes: int, in_chans: int, act_layer):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = act_layer()
        self.layer1 = _option_a_stage(n, 16, 16, act_layer)
        self.layer2 = _option_a_stage(n, 16, 32, act_layer)
        self.layer3 = _option_a_stage(n, 32, 64, act_layer)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, 8, 8)
        return self.linear(self.pool(x).flatten(1))


def _option_a_stage(n: int, in_chans: int, out_chans: int, act_layer) -> nn.Sequential:
    """N basic blocks; where the channels double, the first one has stride 2 and a shortcut of option A."""
    if in_chans == out_chans:
        first = BasicBlock(in_chans, out_chans, 1, act_layer)
    else:
        first = BasicBlock(in_chans, out_chans, 2, act_layer, PaddingShortcut(in_chans, out_chans))
    return nn.Sequential(first, *(BasicBlock(out_chans, out_chans, 1, act_layer) for _ in range(n - 1)))
