"""Networks of authors as their code has them: fabricated state dicts in their names, and what it makes of them.

Jackn0/snn_optimal_conversion_pipeline, yhhhli/SNN_Calibration and putshua/ANN_SNN_QCFS, from reading them.
"""

import torch
import torch.nn.functional as F

WIDTHS = {1: (64, 64), 2: (128, 128), 3: (256, 256, 256), 4: (512, 512, 512), 5: (512, 512, 512)}  # VGG-16


class State(dict):
    """A state dict that grows layer by layer; biases and means are multiples of 1/64, so that their sums are exact."""

    def __init__(self):
        self.draw = torch.Generator().manual_seed(0)

    def weights(self, name, *shape, bias=True):
        """Of a convolution (out, in, k, k) or a linear layer (out, in)."""
        fan_in = torch.Size(shape[1:]).numel()
        self[f"{name}.weight"] = torch.empty(shape).normal_(0, (2 / fan_in) ** 0.5, generator=self.draw)
        if bias:
            self[f"{name}.bias"] = torch.randint(-8, 9, shape[:1], generator=self.draw) / 64

    def norm(self, name, width):
        for what in ("weight", "running_var"):
            self[f"{name}.{what}"] = torch.empty(width).uniform_(0.5, 1.5, generator=self.draw)
        for what in ("bias", "running_mean"):
            self[f"{name}.{what}"] = torch.randint(-8, 9, (width,), generator=self.draw) / 64
        self[f"{name}.num_batches_tracked"] = torch.tensor(117)

    def thresh(self, name):
        self[f"{name}.thresh"] = torch.empty(1).uniform_(1, 2, generator=self.draw)


class Forward:
    """The operations of a state dict, in double precision."""

    def __init__(self, state):
        self.state = {key: value.double() for key, value in state.items()}

    def conv(self, name, x, stride=1):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding=weight.shape[2] // 2)

    def linear(self, name, x):
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name, x):
        mean, var, weight, bias = (
            self.state[f"{name}.{what}"] for what in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    def qcfs(self, name, x, L):
        thresh = self.state[f"{name}.thresh"]
        return torch.floor(torch.clamp(x / thresh, 0, 1) * L + 0.5) / L * thresh


# Deng & Gu


def deng_cifarnet(classes):
    state = State()
    for name, out, inputs in (("conv1", 128, 3), ("conv2", 256, 128), ("conv3", 512, 256), ("conv4", 1024, 512)):
        state.weights(name, out, inputs, 3, 3)
    state.weights("conv5", 512, 1024, 3, 3)
    state.weights("fc1", 1024, 512 * 8 * 8)
    state.weights("fc2", 512, 1024)
    state.weights("fc3", classes, 512)
    return state


def deng_vgg16(classes, kernel=1, features=2 * 2):
    """`kernel` of the third convolutions and the last map's size are 3 and 7 * 7 for ImageNet."""
    state, before = State(), 3
    for group, widths in WIDTHS.items():
        for i, width in enumerate(widths, 1):
            k = kernel if i == 3 else 3
            state.weights(f"conv{group}_{i}", width, before, k, k)
            before = width
    state.weights("fc1", 4096, 512 * features)
    state.weights("fc2", 4096, 4096)
    state.weights("fc3", classes, 4096)
    return state


def deng_vgg16_forward(state, x, y_th):
    net = Forward(state)
    for group, widths in WIDTHS.items():
        for i in range(1, 1 + len(widths)):
            x = net.conv(f"conv{group}_{i}", x).clamp(0, y_th)
        x = F.avg_pool2d(x, 2) if group < 5 else x
    x = net.linear("fc1", x.flatten(1)).clamp(0, y_th)
    return net.linear("fc3", net.linear("fc2", x).clamp(0, y_th))


def deng_resnet20(classes):
    state = State()
    state.weights("pre_process.0", 64, 3, 3, 3, bias=False)
    state.weights("pre_process.3", 64, 64, 3, 3, bias=False)
    state.weights("pre_process.6", 64, 64, 3, 3, bias=False)
    before = 64
    for layer, width in ((1, 64), (2, 128), (3, 256), (4, 512)):
        for block in (0, 1):
            state.weights(f"layer{layer}.{block}.residual.0", width, before, 3, 3, bias=False)
            state.weights(f"layer{layer}.{block}.residual.3", width, width, 3, 3, bias=False)
            if before != width:
                state.weights(f"layer{layer}.{block}.identity.0", width, before, 1, 1, bias=False)
            before = width
    state.weights("classifier.0", classes, 512 * 2 * 2, bias=False)
    return state


def deng_resnet20_forward(state, x, y_th):
    net = Forward(state)
    for place in (0, 3, 6):
        x = net.conv(f"pre_process.{place}", x).clamp(0, y_th)
    x = F.avg_pool2d(x, 2)
    for block in ("1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1"):
        narrower = block in ("2.0", "3.0", "4.0")
        y = net.conv(f"layer{block}.residual.0", x, 2 if narrower else 1).clamp(0, y_th)
        x = net.conv(f"layer{block}.identity.0", x, 2) if narrower else x
        x = (net.conv(f"layer{block}.residual.3", y) + x).clamp(0, y_th)
    return net.linear("classifier.0", x.flatten(1))


# SNN calibration


def li_vgg16(classes):
    state, place, before = State(), 0, 3
    for widths in WIDTHS.values():
        for width in widths:
            state.weights(f"features.{place}", width, before, 3, 3)
            state.norm(f"features.{place + 1}", width)
            place, before = place + 3, width
        place += 1  # the pool
    state.weights("classifier", classes, 512)
    return state


def li_vgg16_forward(state, x):
    net, place = Forward(state), 0
    for widths in WIDTHS.values():
        for _ in widths:
            x = net.norm(f"features.{place + 1}", net.conv(f"features.{place}", x)).relu()
            place += 3
        x = F.avg_pool2d(x, 2)
        place += 1
    return net.linear("classifier", x.flatten(1))


def li_resnet20(classes):
    state, before = State(), 64
    state.weights("conv1", 64, 3, 3, 3, bias=False)
    state.norm("bn1", 64)
    for layer, width in ((1, 64), (2, 128), (3, 256)):
        for block in range(3):
            place = f"layer{layer}.{block}"
            state.weights(f"{place}.conv1", width, before, 3, 3, bias=False)
            state.norm(f"{place}.bn1", width)
            state.weights(f"{place}.conv2", width, width, 3, 3, bias=False)
            state.norm(f"{place}.bn2", width)
            if before != width:
                state.weights(f"{place}.downsample.0", width, before, 1, 1, bias=False)
                state.norm(f"{place}.downsample.1", width)
            before = width
    state.weights("fc", classes, 256)
    return state


def li_resnet20_forward(state, x):
    net = Forward(state)
    x = net.norm("bn1", net.conv("conv1", x)).relu()
    for layer in (1, 2, 3):
        for block in range(3):
            place, narrower = f"layer{layer}.{block}", layer > 1 and block == 0
            y = net.norm(f"{place}.bn1", net.conv(f"{place}.conv1", x, 2 if narrower else 1)).relu()
            if narrower:
                x = net.norm(f"{place}.downsample.1", net.conv(f"{place}.downsample.0", x, 2))
            x = (net.norm(f"{place}.bn2", net.conv(f"{place}.conv2", y)) + x).relu()
    return net.linear("fc", x.mean((2, 3)))


# QCFS


def qcfs_vgg16(classes, features=1):
    """`features` is the last map's size, 7 * 7 for ImageNet."""
    state, before = State(), 3
    for group, widths in WIDTHS.items():
        for i, width in enumerate(widths):
            state.weights(f"layer{group}.{4 * i}", width, before, 3, 3)
            state.norm(f"layer{group}.{4 * i + 1}", width)
            state.thresh(f"layer{group}.{4 * i + 2}")
            before = width
    state.weights("classifier.1", 4096, 512 * features)
    state.thresh("classifier.2")
    state.weights("classifier.4", 4096, 4096)
    state.thresh("classifier.5")
    state.weights("classifier.7", classes, 4096)
    return state


def qcfs_vgg16_forward(state, x, L):
    net = Forward(state)
    for group, widths in WIDTHS.items():
        for i in range(len(widths)):
            x = net.norm(f"layer{group}.{4 * i + 1}", net.conv(f"layer{group}.{4 * i}", x))
            x = net.qcfs(f"layer{group}.{4 * i + 2}", x, L)
        x = F.avg_pool2d(x, 2)
    x = net.qcfs("classifier.2", net.linear("classifier.1", x.flatten(1)), L)
    return net.linear("classifier.7", net.qcfs("classifier.5", net.linear("classifier.4", x), L))


def qcfs_resnet(classes, widths, blocks):
    state, before = State(), widths[0]
    state.weights("conv1.0", before, 3, 3, 3, bias=False)
    state.norm("conv1.1", before)
    state.thresh("conv1.2")
    for stage, (width, n) in enumerate(zip(widths, blocks, strict=True), 2):
        for block in range(n):
            place = f"conv{stage}_x.{block}"
            state.weights(f"{place}.residual_function.0", width, before, 3, 3, bias=False)
            state.norm(f"{place}.residual_function.1", width)
            state.thresh(f"{place}.residual_function.2")
            state.weights(f"{place}.residual_function.3", width, width, 3, 3, bias=False)
            state.norm(f"{place}.residual_function.4", width)
            if before != width:
                state.weights(f"{place}.shortcut.0", width, before, 1, 1, bias=False)
                state.norm(f"{place}.shortcut.1", width)
            state.thresh(f"{place}.act")
            before = width
    state.weights("fc", classes, before)
    return state


def qcfs_resnet20(classes):
    return qcfs_resnet(classes, (16, 32, 64), (3, 3, 3))


def qcfs_resnet18(classes):
    return qcfs_resnet(classes, (64, 128, 256, 512), (2, 2, 2, 2))


def qcfs_resnet34(classes):
    return qcfs_resnet(classes, (64, 128, 256, 512), (3, 4, 6, 3))


def qcfs_resnet_forward(state, x, L):
    net = Forward(state)
    x = net.qcfs("conv1.2", net.norm("conv1.1", net.conv("conv1.0", x)), L)
    for place in dict.fromkeys(key.partition(".residual_function")[0] for key in state if "residual_function" in key):
        inner, narrower = f"{place}.residual_function", f"{place}.shortcut.0.weight" in state
        y = net.qcfs(f"{inner}.2", net.norm(f"{inner}.1", net.conv(f"{inner}.0", x, 2 if narrower else 1)), L)
        if narrower:
            x = net.norm(f"{place}.shortcut.1", net.conv(f"{place}.shortcut.0", x, 2))
        x = net.qcfs(f"{place}.act", net.norm(f"{inner}.4", net.conv(f"{inner}.3", y)) + x, L)
    return net.linear("fc", x.mean((2, 3)))
