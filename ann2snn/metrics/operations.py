"""Synaptic operations of a spiking network and multiply-accumulates (MACs) of its source, per layer and exactly.

A synaptic operation is one spike meeting one weight. The fan-out of a unit is the number of weights that one of its
spikes meets. It accounts for borders, strides, groups, both branches of a residual connection, and pools, which pass a
spike on to the weights behind them. The fan-out depends on the position of the unit only, so the number of operations
is the sum over units of spikes x fan-out, whatever the thresholds are.

Linear operations between a unit and the weights are routes: only whether a value is passed on counts, not its factor or
sign. A copy (`expand`, `repeat`, nearest interpolation) passes a spike on once per copy, an interpolation to every
value that it contributes to, and a factor of zero to none. Where two routes of one unit meet (`y - y.flip(3)`, an
identity beside a branch), the spike arrives twice. The routes themselves cost nothing.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ann2snn.data.catalog import DATASETS
from ann2snn.errors import UserError
from ann2snn.graph.modules import CONVOLUTIONS, TRANSPOSED, WEIGHTED, Affine, Contraction, MaxPool
from ann2snn.metrics.fan_out import UNIT_WEIGHT_FUNCTIONS, nonzero_factor
from ann2snn.networks.registry import create


@dataclass(frozen=True)
class Costs:
    """Costs of one image.

    Attributes:
        fan_out: Per emitting layer (C, H, W): the number of weights that a spike of every unit meets.
        neurons: Per layer of neurons: the number of neurons.
        macs: Per weight layer of the ANN: its MACs, including those that read padding.
        macs_without_padding: The same, without those that read padding.
        analog: The weight layers that read the image. A spiking network computes their MACs once (or once per step).
    """

    fan_out: dict[str, Tensor]
    neurons: dict[str, int]
    macs: dict[str, int]
    macs_without_padding: dict[str, int]
    analog: tuple[str, ...]

    def operations(self, events: dict[str, Tensor]) -> dict[str, int]:
        """Synaptic operations per emitting layer.

        Args:
            events: Spikes of every unit per layer, as in `Result.events[t]`. Those of a spiking read-out meet no
                weight.
        """
        return {name: int((count.cpu() * self.fan_out.get(name, 0)).sum()) for name, count in events.items()}


def costs(ann: fx.GraphModule, shape: tuple[int, ...] | None = None) -> Costs:
    """Counts the costs of a prepared or converted network for one image.

    One forward pass runs with unit weights. The gradient of the sum of all weight layers' outputs with respect to the
    output of an activation is its fan-out.

    Args:
        ann: The network.
        shape: (C, H, W) of the image; by default the shape that the network was prepared for.
    """
    counter = _CostCounter(ann)
    counter.run(torch.zeros(1, *(shape or ann.meta["shape"]), dtype=torch.double))
    gradients = torch.autograd.grad(counter.weight_sum, list(counter.emitted.values()), allow_unused=True)
    fan_out = {
        name: torch.zeros(values.shape[1:], dtype=torch.long) if gradient is None else gradient[0].round().long()
        for (name, values), gradient in zip(counter.emitted.items(), gradients, strict=True)
    }
    return Costs(fan_out, counter.neurons, counter.macs, counter.macs_without_padding, tuple(counter.analog))


class _CostCounter(fx.Interpreter):
    """Runs a graph with unit weights and records what each layer costs."""

    def __init__(self, ann: fx.GraphModule):
        super().__init__(ann)
        self.extra_traceback = False
        self.reads_image: dict[fx.Node, bool] = {}
        self.reads_spikes: dict[fx.Node, bool] = {}
        self.weight_sum = torch.zeros((), dtype=torch.double, requires_grad=True)
        self.emitted: dict[str, Tensor] = {}  # outputs of the layers that emit spikes
        self.neurons: dict[str, int] = {}
        self.macs: dict[str, int] = {}
        self.macs_without_padding: dict[str, int] = {}
        self.analog: list[str] = []

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        self.reads_image[n] = n.op == "placeholder" or any(self.reads_image[i] for i in n.all_input_nodes)
        self.reads_spikes[n] = any(self.reads_spikes[i] for i in n.all_input_nodes)
        return super().run_node(n)

    def get_attr(self, target, args, kwargs) -> Tensor:
        value = super().get_attr(target, args, kwargs).cpu()
        return value.double() if value.is_floating_point() else value

    def call_function(self, target, args, kwargs) -> Any:
        return UNIT_WEIGHT_FUNCTIONS.get(target, target)(*args, **kwargs)  # type: ignore

    def call_module(self, target, args, kwargs) -> Tensor:
        x: Any = args[0]
        module: Any = self.fetch_attr(str(target))
        if isinstance(module, WEIGHTED):
            return self._weights(module, x)
        if isinstance(module, MaxPool):
            pooled = module(x.detach())
            return self._emit(module, pooled) if self.reads_spikes[self.node] else pooled.clone()
        if isinstance(module, Affine):
            return nonzero_factor(x, module.scale.cpu())
        self.neurons[module.name] = x.numel()
        return self._emit(module, x.detach())

    def _weights(self, module: Any, x: Tensor) -> Tensor:
        ones = {name: torch.ones(p.shape, dtype=torch.double) for name, p in module.named_parameters()}
        if "bias" in ones:
            ones["bias"].zero_()
        out = torch.func.functional_call(module, ones, (x,))
        self.weight_sum = self.weight_sum + out.sum()
        self.macs[module.name] = macs_with_padding(module, x.shape, out.shape)
        self.macs_without_padding[module.name] = macs_without_padding(module, x.shape, out.shape)
        if self.reads_image[self.node]:
            self.analog.append(module.name)
        return out.detach()

    def _emit(self, module: Any, values: Tensor) -> Tensor:
        """Makes the output of a layer that emits spikes a leaf of the autograd graph."""
        self.reads_image[self.node], self.reads_spikes[self.node] = False, True
        self.emitted[module.name] = values.clone().requires_grad_()
        return self.emitted[module.name]


def macs_with_padding(layer: Any, shape: torch.Size, out: torch.Size) -> int:
    """MACs of a weight layer for one image, including those that read padding.

    For a transposed convolution it includes those outside of the output.

    Args:
        layer: The weight layer.
        shape: Shape of the input, (1, ...).
        out: Shape of the output, (1, ...).
    """
    if isinstance(layer, Contraction):
        return layer.products(shape)
    return (shape if isinstance(layer, TRANSPOSED) else out)[1:].numel() * layer.weight[0].numel()


def macs_without_padding(layer: nn.Module, shape: torch.Size, out: torch.Size) -> int:
    """`macs_with_padding` less those that read padding, or are outside of the output."""
    if not isinstance(layer, CONVOLUTIONS + TRANSPOSED):
        return macs_with_padding(layer, shape, out)
    taps = layer.weight[:, :, *[0] * len(layer.kernel_size)].numel()
    strided, dense = (shape, out) if isinstance(layer, TRANSPOSED) else (out, shape)
    for side, k in enumerate(layer.kernel_size):
        n, m = dense[2 + side], strided[2 + side]
        stride, dilation = layer.stride[side], layer.dilation[side]
        same = dilation * (k - 1) // 2 if layer.padding == "same" else 0
        before = same if isinstance(layer.padding, str) else layer.padding[side]
        taps *= sum(0 <= i * stride + j * dilation - before < n for i in range(m) for j in range(k))
    return taps


@functools.cache
def macs_of(dataset: str, network: str) -> dict[str, tuple[int, int]] | None:
    """`count_macs` of a network by name, for the images of a dataset; None where the network cannot be made."""
    try:
        classes, shape, *_ = DATASETS[dataset]
        with torch.device("meta"):
            return count_macs(create(network, num_classes=classes, in_chans=shape[0]), shape)
    except (KeyError, UserError, RuntimeError):
        return None


def count_macs(net: nn.Module, shape: tuple[int, int, int]) -> dict[str, tuple[int, int]]:
    """(MACs of one image, MACs without padding) of every call of a weight layer, by its name in a prepared network.

    Args:
        net: A source network, also on the meta device.
        shape: (C, H, W) of the image, which is made on the default device.
    """
    counts: dict[str, tuple[int, int]] = {}

    def count(name: str, module: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
        calls = sum(key.partition("@")[0] == name for key in counts)
        shapes = inputs[0].shape, out.shape
        pair = macs_with_padding(module, *shapes), macs_without_padding(module, *shapes)
        counts[f"{name}@{calls}" if calls else name] = pair

    net.eval()
    for name, module in net.named_modules():
        if isinstance(module, WEIGHTED):
            module.register_forward_hook(functools.partial(count, name))
    net(torch.empty(1, *shape))
    return counts
