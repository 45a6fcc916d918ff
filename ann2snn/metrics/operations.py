"""Synaptic operations of a spiking network and multiply-accumulates of its source, per layer and exactly.

A synaptic operation is one spike meeting one weight. How many weights a spike of a unit reaches is its fan-out:
borders, strides, groups, both branches of a residual connection, and pools, which hand a spike on to the weights behind
them. It depends on the unit's position only, so operations = sum over units of spikes x fan-out, whatever the
thresholds are.

Between a unit and the weights, linear operations are routes: only whether a value is handed on counts, not with which
factor or sign. A copy (`expand`, `repeat`, nearest interpolation) hands it on once for every copy, an interpolation to
every value that it has a part in, and a factor of zero to none. Where two routes of one unit meet (`y - y.flip(3)`, an
identity beside a branch), the spike comes twice. The routes themselves cost nothing.
"""

# pyright: reportArgumentType=false, reportOptionalMemberAccess=false, reportIndexIssue=false, reportOptionalCall=false

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ann2snn.data.catalog import DATASETS
from ann2snn.errors import UserError
from ann2snn.graph.modules import CONVOLUTIONS, TRANSPOSED, WEIGHTED, Affine, Contraction, MaxPool
from ann2snn.graph.network import modules_by_node
from ann2snn.metrics.fan_out import ONES, factor
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.networks.registry import create


@dataclass(frozen=True)
class Costs:
    """Of one image.

    `fan_out[layer]` (C, H, W): the weights that a spike of every unit reaches; `neurons[layer]`: how many there are;
    `macs[layer]`: the multiply-accumulates of every weight layer of the ANN (padding included, as is usual), and
    `inside[layer]`: those of them that read no padding; `analog`: the weight layers that see the analog input, whose
    macs a spiking network pays once (or once a step).
    """

    fan_out: dict[str, Tensor]
    neurons: dict[str, int]
    macs: dict[str, int]
    macs_without_padding: dict[str, int]
    analog: tuple[str, ...]

    def operations(self, events: dict[str, Tensor]) -> dict[str, int]:
        """Synaptic operations per emitting layer, from the events of a simulation (`Result.events[t]`).

        The spikes of a spiking read-out reach no weight.
        """
        return {name: int((count.cpu() * self.fan_out.get(name, 0)).sum()) for name, count in events.items()}


def costs(ann: fx.GraphModule, shape: tuple[int, ...] | None = None) -> Costs:
    """The costs of a prepared network for one image, of this shape (C, H, W) or the one it was prepared for.

    One pass with all weights and divisors one, whose gradient with respect to an activation is its fan-out.
    """
    env: dict[fx.Node, Tensor] = {}
    sees_image: dict[fx.Node, bool] = {}
    sees_spikes: dict[fx.Node, bool] = {}
    leaves: dict[str, Tensor] = {}
    neurons: dict[str, int] = {}
    macs: dict[str, int] = {}
    macs_without_padding: dict[str, int] = {}
    analog = []
    reached = torch.zeros((), dtype=torch.double, requires_grad=True)
    modules = modules_by_node(ann)
    for node in ann.graph.nodes:
        sees_image[node] = node.op == "placeholder" or any(sees_image[n] for n in node.all_input_nodes)
        sees_spikes[node] = any(sees_spikes[n] for n in node.all_input_nodes)
        module = modules.get(node)
        arguments, keywords = fx.map_arg((node.args, node.kwargs), env.get)
        if node.op == "placeholder":
            env[node] = torch.zeros(1, *(shape or ann.meta["shape"]), dtype=torch.double)
        elif node.op == "get_attr":
            value = getattr(ann, node.target).cpu()
            env[node] = value.double() if value.is_floating_point() else value
        elif isinstance(module, WEIGHTED):
            x = arguments[0]
            ones = {name: torch.ones(p.shape, dtype=torch.double) for name, p in module.named_parameters()}
            if "bias" in ones:
                ones["bias"].zero_()
            out = torch.func.functional_call(module, ones, (x,))
            reached = reached + out.sum()
            macs[module.name] = macs_with_padding(module, x.shape, out.shape)
            macs_without_padding[module.name] = count_macs_without_padding(module, x.shape, out.shape)
            if sees_image[node]:
                analog.append(module.name)
            env[node] = out.detach()
        elif isinstance(module, MaxPool) or hasattr(module, "step") or isinstance(module, ThresholdReLU):
            inert = isinstance(module, MaxPool) and not sees_spikes[node]
            out = module(arguments[0].detach()) if isinstance(module, MaxPool) else arguments[0].detach()
            env[node] = out.clone().requires_grad_(not inert)
            if not inert:
                sees_image[node], sees_spikes[node] = False, True
                leaves[module.name] = env[node]
                if not isinstance(module, MaxPool):
                    neurons[module.name] = out.numel()
        elif isinstance(module, Affine):
            env[node] = factor(arguments[0], module.scale.cpu())
        elif node.op == "call_function":
            env[node] = ONES.get(node.target, node.target)(*arguments, **keywords)
    gradients = torch.autograd.grad(reached, list(leaves.values()), allow_unused=True)
    fan_out = {
        name: torch.zeros(leaf.shape[1:], dtype=torch.long) if gradient is None else gradient[0].round().long()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
    return Costs(fan_out, neurons, macs, macs_without_padding, tuple(analog))


def macs_with_padding(layer: nn.Module, shape: torch.Size, out: torch.Size) -> int:
    """The multiply-accumulates of one image, of this input and output shape, with those that read padding or, of a
    transposed convolution, fall outside of the output."""
    if isinstance(layer, Contraction):
        return layer.products(shape)
    return (shape if isinstance(layer, TRANSPOSED) else out)[1:].numel() * layer.weight[0].numel()


def count_macs_without_padding(layer: nn.Module, shape: torch.Size, out: torch.Size) -> int:
    """The same without those that read padding or fall outside."""
    if not isinstance(layer, CONVOLUTIONS + TRANSPOSED):
        return macs_with_padding(layer, shape, out)
    taps = layer.weight[:, :, *[0] * len(layer.kernel_size)].numel()
    spread, read = (shape, out) if isinstance(layer, TRANSPOSED) else (out, shape)
    for side, k in enumerate(layer.kernel_size):
        n, m = read[2 + side], spread[2 + side]
        stride, dilation = layer.stride[side], layer.dilation[side]
        same = dilation * (k - 1) // 2 if layer.padding == "same" else 0
        before = same if isinstance(layer.padding, str) else layer.padding[side]
        taps *= sum(0 <= i * stride + j * dilation - before < n for i in range(m) for j in range(k))
    return taps


@functools.cache
def macs_of(dataset: str, network: str) -> dict[str, tuple[int, int]] | None:
    """(MACs of an image, those of them that read no padding) of every call of a weight layer, by its name in a prepared
    network; counted without weights. None where that cannot be done."""
    found = {}

    def count(name: str, module: nn.Module, arguments: tuple[Tensor], out: Tensor) -> None:
        calls = sum(key.partition("@")[0] == name for key in found)
        found[f"{name}@{calls}" if calls else name] = (
            macs_with_padding(module, arguments[0].shape, out.shape),
            count_macs_without_padding(module, arguments[0].shape, out.shape),
        )

    try:
        classes, shape, *_ = DATASETS[dataset]
        with torch.device("meta"):
            net = create(network, num_classes=classes, in_chans=shape[0]).eval()
            for name, module in net.named_modules():
                if isinstance(module, WEIGHTED):
                    module.register_forward_hook(functools.partial(count, name))
            net(torch.empty(1, *shape))
    except (KeyError, UserError, RuntimeError):
        return None
    return found
