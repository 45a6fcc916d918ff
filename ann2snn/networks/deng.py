"""The networks of Deng & Gu (ICLR 2021), layer by layer as in their code (Jackn0/snn_optimal_conversion_pipeline).

The networks consist of convolutions, average pools, linear layers and ReLUs, without batch norm. Convolutions are
initialised by `kaiming_normal_` (fan-out) with zero biases, as in the released ResNet-20; the author recommends it for
threshold-ReLU training in issue 2 of that repository. The released VGG-16 and CIFAR-Net use PyTorch's default. Linear
layers have PyTorch's default here too.

The variants named `_bn` are not in the paper. They have batch norm after every convolution; folded, it leaves the same
layers for inference.
"""

from torch import Tensor, nn

from ann2snn.networks.blocks import init_kaiming, projection
from ann2snn.networks.registry import network

CIFARNET = "128 256 A 512 A 1024 512"
VGG16_1X1 = "64 64 A 128 128 A 256 256 256* A 512 512 512* A 512 512 512*"
VGG16 = "64 64 A 128 128 A 256 256 256 A 512 512 512 A 512 512 512 A"
DROPOUT = 0.2


@network(shape=(3, 32, 32))
def deng_cifarnet(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """The paper's CIFAR-Net: 5 convolutions of up to 1024 channels, 2 pools, linear layers of 1024 and 512.

    45,003,018 parameters at 3 channels and 10 classes, 1,245,582,336 MACs. Other networks of that name are far smaller.
    """
    return plain(CIFARNET, (1024, 512), num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def deng_vgg16(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """The paper's VGG-16 for CIFAR: the third convolutions of groups 3 to 5 are 1x1, four pools, 4096-4096 classifier.

    35,211,082 parameters at 3 channels and 10 classes, 262,905,856 MACs, no dropout. It differs from Simonyan's
    configuration D (`vgg16` of torchvision, all 3x3, five pools) and from the VGG-16 with batch norm and one linear
    layer of 512 that later papers convert (`cifar_vgg16`).
    """
    return plain(VGG16_1X1, (4096, 4096), num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def deng_vgg16_bn(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """`deng_vgg16` with batch norm in place of the convolutions' biases, into which it folds. Not in the paper.

    35,215,306 parameters at 3 channels and 10 classes, 35,211,082 after folding; 262,905,856 MACs.
    """
    return plain(VGG16_1X1, (4096, 4096), num_classes, in_chans, act_layer, norm=nn.BatchNorm2d)


@network(shape=(3, 224, 224))
def deng_vgg16_imagenet(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """The paper's VGG-16 for ImageNet: configuration D (Simonyan & Zisserman 2015) with average pools, no dropout.

    138,357,544 parameters at 3 channels and 1000 classes, as many as torchvision's `vgg16`, which has max-pools and
    dropout; 15,470,264,320 MACs. The paper's code for ImageNet is not public; its released checkpoint has these layers.
    """
    return plain(VGG16, (4096, 4096), num_classes, in_chans, act_layer, size=224)


@network(shape=(3, 32, 32))
def deng_resnet20(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """The paper's ResNet-20: a stem of 3 convolutions and a pool, 8 basic blocks of 64 to 512 channels, no biases.

    11,253,440 parameters at 3 channels and 10 classes, 215,699,456 MACs. It is closer to a ResNet-18 than to He's
    ResNet-20 (`cifar_resnet20`, 0.27 M) or to Li et al.'s (`li_resnet20`). The input of the classifier is 512x2x2,
    unpooled.

    Dropout of 0.2 is in the stem and inside the blocks, as the released code intends. (There, `ResNet20(relu_th)`
    passes the flag of the threshold as the dropout probability, so that training with a threshold drops everything.)
    """
    return _resnet20(nn.Identity, num_classes, in_chans, act_layer)


@network(shape=(3, 32, 32))
def deng_resnet20_bn(*, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    """`deng_resnet20` with batch norm after every convolution, also in the shortcuts. Not in the paper.

    11,263,296 parameters at 3 channels and 10 classes, 215,699,456 MACs. Folding adds biases.
    """
    return _resnet20(nn.BatchNorm2d, num_classes, in_chans, act_layer)


def plain(
    plan: str, hidden: tuple[int, ...], num_classes: int, in_chans: int, act_layer, *, norm: type = nn.Identity, size=32
) -> nn.Module:
    """A network without branches: convolutions and average pools, then linear layers.

    Args:
        plan: The convolutional part: `64` is a 3x3 convolution to 64 channels with its norm and activation, `64*` a 1x1
            convolution, and `A` a 2x2 average pool.
        hidden: Features of the hidden linear layers.
        num_classes: Number of outputs.
        in_chans: Channels of the input (B, in_chans, size, size).
        act_layer: Factory of the activations.
        norm: Type of the norm after each convolution; without a norm, convolutions have biases.
        size: Height and width of the input.
    """
    layers: list[nn.Module] = []
    width = in_chans
    for word in plan.split():
        if word == "A":
            layers.append(nn.AvgPool2d(2))
        else:
            channels, kernel = int(word.rstrip("*")), 1 if "*" in word else 3
            layers += _layer(width, channels, kernel, norm, act_layer, bias=norm is nn.Identity)
            width = channels
    layers.append(nn.Flatten())
    width *= (size >> plan.count("A")) ** 2
    for features in hidden:
        layers += [nn.Linear(width, features), act_layer()]
        width = features
    return _init(nn.Sequential(*layers, nn.Linear(width, num_classes)))


def _resnet20(norm, num_classes: int, in_chans: int, act_layer) -> nn.Module:
    layers: list[nn.Module] = []
    for width, last in ((in_chans, nn.Dropout(DROPOUT)), (64, nn.Dropout(DROPOUT)), (64, nn.AvgPool2d(2))):
        layers += [*_layer(width, 64, 3, norm, act_layer, bias=False), last]
    in_width = 64  # (B, 64, 16, 16)
    for width in (64, 128, 256, 512):
        layers += [DropoutBlock(in_width, width, norm, act_layer), DropoutBlock(width, width, norm, act_layer)]
        in_width = width
    return _init(nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 2 * 2, num_classes, bias=False)))


def _init(net: nn.Module) -> nn.Module:
    return init_kaiming(net, "fan_out", nn.Conv2d, zero_bias=True)


def _layer(in_chans: int, out_chans: int, kernel: int, norm, act_layer, bias: bool) -> list[nn.Module]:
    return [nn.Conv2d(in_chans, out_chans, kernel, padding=kernel // 2, bias=bias), norm(out_chans), act_layer()]


class DropoutBlock(nn.Module):
    """act(norm(conv(dropout(act(norm(conv(x)))))) + shortcut(x)); stride 2 where the channels double.

    A basic block with dropout, whose norms are optional and are called `norm1` and `norm2` in state dicts.
    """

    def __init__(self, in_chans: int, out_chans: int, norm, act_layer):
        super().__init__()
        stride = 1 if in_chans == out_chans else 2
        self.conv1 = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.norm1 = norm(out_chans)
        self.act1 = act_layer()
        self.dropout = nn.Dropout(DROPOUT)
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
        self.norm2 = norm(out_chans)
        self.shortcut = projection(in_chans, out_chans, stride, norm)
        self.act2 = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(self.act1(self.norm1(self.conv1(x))))
        return self.act2(self.norm2(self.conv2(y)) + self.shortcut(x))
