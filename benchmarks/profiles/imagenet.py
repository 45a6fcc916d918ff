"""The paper's VGG-16 on ImageNet, one training seed."""

from .paper import paper

TABLES = (paper("imagenet", "deng_vgg16_imagenet", seeds=(0,)),)
