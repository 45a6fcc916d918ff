"""The smallest MobileNet with public weights for ImageNet."""

from torch import nn

from ann2snn.networks.cifar import _kaiming
from ann2snn.networks.registry import network

BLOCKS = "16 32/2 32 64/2 64 128/2 128 128 128 128 128 256/2 256"


@network(shape=(3, 128, 128))
def mobilenet_v1_025(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """MobileNetV1 (Howard et al. 2017), a quarter as wide, for 128x128: 27 convolutions and 1 linear layer.

    467,336 parameters at 3 channels and 1000 classes, 13,570,048 MACs. A 3x3 convolution, 13 pairs of a 3x3 depthwise
    and a 1x1 convolution with an activation after each, a global average pool. As TensorFlow has it: its convolutions
    of stride 2 see one row of zeros below and one column to the right, none above and to the left; the paper's batch
    norms are folded into the biases here; `threshold_relu:6` is its ReLU6. Input (B, in_chans, 128, 128).
    """
    width, layers = 8, [*_conv3x3(in_chans, 8, 2, 1), act_layer()]  # (B, 8, 64, 64)
    for word in BLOCKS.split():
        out, _, stride = word.partition("/")
        layers += [*_conv3x3(width, width, int(stride or 1), width), act_layer()]
        layers += [nn.Conv2d(width, width := int(out), 1), act_layer()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
    return _kaiming(net)


def _conv3x3(in_chans: int, out_chans: int, stride: int, groups: int) -> list[nn.Module]:
    """As much padding as the size needs, and an odd rest of it below and to the right (TensorFlow's SAME)."""
    if stride == 1:
        return [nn.Conv2d(in_chans, out_chans, 3, padding=1, groups=groups)]
    return [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(in_chans, out_chans, 3, stride, groups=groups)]
