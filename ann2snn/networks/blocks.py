"""Building blocks and initialisation that several networks share."""

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Basic block of a ResNet: act(bn(conv(act(bn(conv(x))))) + shortcut(x)) (He et al. 2016, figure 2).

    The convolutions are 3x3 without biases; the first has the stride.

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        stride: Stride of the block.
        act_layer: Factory of the activations.
        shortcut: Maps the input to the shape of the output; by default the identity, or `projection` where the shape
            changes.
    """

    def __init__(self, in_chans: int, out_chans: int, stride: int, act_layer, shortcut: nn.Module | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_chans)
        self.act1 = act_layer()
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_chans)
        self.shortcut = shortcut or projection(in_chans, out_chans, stride, nn.BatchNorm2d)
        self.act2 = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        return self.act2(self.bn2(self.conv2(y)) + self.shortcut(x))


def projection(in_chans: int, out_chans: int, stride: int, norm_layer) -> nn.Module:
    """Shortcut of option B (He et al. 2016): a normalised 1x1 convolution, or the identity if the shape is kept."""
    if stride == 1 and in_chans == out_chans:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_chans, out_chans, 1, stride, bias=False), norm_layer(out_chans))


class PaddingShortcut(nn.Module):
    """Shortcut of option A (He et al. 2016): every second pixel, with zeros as the added channels; no parameters."""

    def __init__(self, in_chans: int, out_chans: int):
        super().__init__()
        self.channels_per_side = (out_chans - in_chans) // 2

    def forward(self, x: Tensor) -> Tensor:
        n = self.channels_per_side
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, n, n))


def init_kaiming(net: nn.Module, mode: str = "fan_in", layers=(nn.Conv2d, nn.Linear), zero_bias: bool = False):
    """Initialises the weights of `net` in place with `kaiming_normal_` (He et al. 2015) and returns `net`.

    Args:
        net: Any network.
        mode: "fan_in" or "fan_out", as in `torch.nn.init.kaiming_normal_`.
        layers: Types of the layers that are initialised; all others keep PyTorch's default.
        zero_bias: Sets the biases of these layers to zero.
    """
    for module in net.modules():
        if isinstance(module, layers):
            nn.init.kaiming_normal_(module.weight, mode=mode)  # type: ignore[arg-type]
            if zero_bias and module.bias is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return net
