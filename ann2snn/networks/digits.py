"""Two small networks for the 8x8 digits, with average pooling."""

from torch import nn

from ann2snn.networks.blocks import BasicBlock, init_kaiming
from ann2snn.networks.registry import network


@network(shape=(1, 8, 8))
def digits_plain(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """Three convolutions and two linear layers: a small version of the paper's CIFAR-Net and VGG-16.

    22,954 parameters at 1x8x8. Like those networks it has biases and average pools, no batch norm and no dropout. Input
    (B, in_chans, 8, 8).
    """
    net = nn.Sequential(
        nn.Conv2d(in_chans, 16, 3, padding=1),
        act_layer(),  # (B, 16, 8, 8)
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        act_layer(),
        nn.Conv2d(32, 32, 3, padding=1),
        act_layer(),  # (B, 32, 4, 4)
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 64),
        act_layer(),
        nn.Linear(64, num_classes),
    )
    return init_kaiming(net, zero_bias=True)


@network(shape=(1, 8, 8))
def digits_residual(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """A stem and two basic blocks (He et al. 2016), one with an identity and one with a 1x1 shortcut.

    19,706 parameters at 1 channel. Unlike the paper's ResNet-20 it has batch norm and a global average pool. Input
    (B, in_chans, H, W), meant for 8x8.
    """
    return nn.Sequential(
        nn.Conv2d(in_chans, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        act_layer(),  # (B, 16, 8, 8)
        nn.AvgPool2d(2),
        BasicBlock(16, 16, 1, act_layer),
        BasicBlock(16, 32, 2, act_layer),  # (B, 32, 2, 2)
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )
