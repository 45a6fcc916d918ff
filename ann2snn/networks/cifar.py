"""He's ResNets for CIFAR (He et al. 2016, section 4.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from ann2snn.networks import network


@network(shape=(3, 32, 32))
def cifar_resnet20(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """He's ResNet-20 for CIFAR: 3 stages of 3 blocks, 16-32-64 channels, batch norm, shortcut option A.

    269,722 parameters at 3 channels and 10 classes (272,474 with the 1x1 shortcuts of option B). The parameter names of
    akamaster/pytorch_resnet_cifar10, whose checkpoints load. Two others go by the same name: Deng & Gu's ResNet-20
    (64 to 512 channels, no batch norm, 11.25 M) and Li et al.'s (64-128-256 channels). Input (B, in_chans, 32, 32).
    """
    return CifarResNet(3, num_classes, in_chans, act_layer)


class CifarResNet(nn.Module):
    """6n + 2 layers: a convolution, three stages of n blocks, a global average pool, a linear layer."""

    def __init__(self, n: int, num_classes: int, in_chans: int, act_layer):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = act_layer()
        self.layer1 = nn.Sequential(*(Block(16, 16, act_layer) for _ in range(n)))
        self.layer2 = nn.Sequential(*(Block(16 if i == 0 else 32, 32, act_layer) for i in range(n)))
        self.layer3 = nn.Sequential(*(Block(32 if i == 0 else 64, 64, act_layer) for i in range(n)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, 8, 8)
        return self.linear(self.pool(x).flatten(1))


class Block(nn.Module):
    """Two convolutions. Where the channels double: stride 2, option A (every second pixel, zeros as new channels)."""

    def __init__(self, in_chans: int, out_chans: int, act_layer):
        super().__init__()
        self.widens = in_chans != out_chans
        self.conv1 = nn.Conv2d(in_chans, out_chans, 3, 2 if self.widens else 1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_chans)
        self.act1 = act_layer()
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_chans)
        self.act2 = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        if self.widens:
            zeros = x.shape[1] // 2  # on either side
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, zeros, zeros))
        return self.act2(y + x)
