"""The smallest MobileNet with public weights for ImageNet."""

from torch import nn

from ann2snn.networks.blocks import init_kaiming
from ann2snn.networks.registry import network

BLOCKS = "16 32/2 32 64/2 64 128/2 128 128 128 128 128 256/2 256"  # channels of each block, and its stride unless 1


@network(shape=(3, 128, 128))
def mobilenet_v1_025(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """MobileNetV1 (Howard et al. 2017), a quarter as wide, for 128x128: 27 convolutions and 1 linear layer.

    467,336 parameters at 3 channels and 1000 classes, 13,570,048 MACs. A 3x3 convolution, 13 pairs of a 3x3 depthwise
    and a 1x1 convolution with an activation after each, a global average pool. Padding is that of TensorFlow:
    convolutions of stride 2 have one row of zeros below and one column to the right. The paper's batch norms are folded
    into the biases. Its ReLU6 is `threshold_relu:6`. Input (B, in_chans, 128, 128).
    """
    width = 8
    layers = [*_conv3x3(in_chans, width, stride=2, groups=1), act_layer()]  # (B, 8, 64, 64)
    for block in BLOCKS.split():
        channels, _, stride = block.partition("/")
        layers += [*_conv3x3(width, width, int(stride or 1), groups=width), act_layer()]
        layers += [nn.Conv2d(width, int(channels), 1), act_layer()]
        width = int(channels)
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
    return init_kaiming(net)


def _conv3x3(in_chans: int, out_chans: int, stride: int, groups: int) -> list[nn.Module]:
    """A 3x3 convolution with TensorFlow's SAME padding: an odd row or column of zeros is below or to the right."""
    if stride == 1:
        return [nn.Conv2d(in_chans, out_chans, 3, padding=1, groups=groups)]
    return [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(in_chans, out_chans, 3, stride, groups=groups)]
