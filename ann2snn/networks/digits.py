"""Two small networks for the 8x8 digits, with average pooling throughout."""

from torch import Tensor, nn

from ann2snn.networks.registry import network


@network(shape=(1, 8, 8))
def digits_plain(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """Three convolutions, two linear layers: the paper's CIFAR-Net and VGG-16 made small. 22,954 parameters at 1x8x8.

    As those it has biases, average pools, no batch norm and no dropout. Input (B, in_chans, 8, 8).
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
    for value in net.parameters():
        if value.ndim:  # no threshold of an activation
            nn.init.kaiming_normal_(value) if value.ndim > 1 else nn.init.zeros_(value)
    return net


@network(shape=(1, 8, 8))
def digits_residual(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """A stem and two basic blocks (He et al. 2016), with identity and 1x1 shortcut. 19,706 parameters at 1 channel.

    Unlike the paper's ResNet-20 it has batch norm and a global average pool. Input (B, in_chans, H, W), meant for 8x8.
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


class BasicBlock(nn.Module):
    """act(bn(conv(act(bn(conv(x))))) + shortcut(x)); shortcut(x) is x, or bn(1x1 conv(x)) where the shape changes."""

    def __init__(self, in_chans: int, out_chans: int, stride: int, act_layer):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_chans)
        self.act1 = act_layer()
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_chans)
        self.shortcut = nn.Identity()
        if stride != 1 or in_chans != out_chans:
            projection = nn.Conv2d(in_chans, out_chans, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_chans))
        self.act2 = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        return self.act2(self.bn2(self.conv2(y)) + self.shortcut(x))
