"""Synaptic operations of a spiking network and multiply-accumulates of its source, per layer and exactly.

A synaptic operation is one spike meeting one weight. How many weights a spike of a unit reaches is its fan-out:
borders, strides, groups, both branches of a residual connection, and pools, which hand a spike on to the weights behind
them. It depends on the unit's position only, so operations = sum over units of spikes x fan-out, whatever the
thresholds are.
"""

# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ann2snn import networks
from ann2snn.activations import ThresholdReLU
from ann2snn.errors import UserError
from ann2snn.facts import DATASETS
from ann2snn.graph import Affine, MaxPool, called


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
    inside: dict[str, int]
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
    inside: dict[str, int] = {}
    analog = []
    reached = torch.zeros((), dtype=torch.double, requires_grad=True)
    modules = called(ann)
    for node in ann.graph.nodes:
        sees_image[node] = node.op == "placeholder" or any(sees_image[n] for n in node.all_input_nodes)
        sees_spikes[node] = any(sees_spikes[n] for n in node.all_input_nodes)
        module = modules.get(node)
        arguments, keywords = fx.map_arg((node.args, node.kwargs), env.get)
        if node.op == "placeholder":
            env[node] = torch.zeros(1, *(shape or ann.meta["shape"]), dtype=torch.double)
        elif node.op == "get_attr":
            env[node] = getattr(ann, node.target).double().cpu()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            x = arguments[0]
            ones = torch.ones_like(module.weight, dtype=torch.double, device="cpu")
            if isinstance(module, nn.Linear):
                out = F.linear(x, ones)
            else:
                out = F.conv2d(x, ones, None, module.stride, module.padding, module.dilation, module.groups)
            reached = reached + out.sum()
            macs[module.name] = out.numel() * module.weight[0].numel()
            inside[module.name] = macs_inside(module, x.shape, out.shape)
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
            env[node] = arguments[0]
        elif node.op == "call_function":
            env[node] = ONES.get(node.target, node.target)(*arguments, **keywords)
    gradients = torch.autograd.grad(reached, list(leaves.values()), allow_unused=True)
    fan_out = {
        name: torch.zeros(leaf.shape[1:], dtype=torch.long) if gradient is None else gradient[0].round().long()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
    return Costs(fan_out, neurons, macs, inside, tuple(analog))


def macs_inside(layer: nn.Conv2d | nn.Linear, shape: torch.Size, out: torch.Size) -> int:
    """The multiply-accumulates of one image, of this input and output shape, that read no padding."""
    if isinstance(layer, nn.Linear):
        return out[1:].numel() * layer.in_features
    taps = layer.weight[:, :, 0, 0].numel()
    for side in range(2):
        n, m, k = shape[2 + side], out[2 + side], layer.kernel_size[side]
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

    def count(name: str, module: nn.Conv2d | nn.Linear, arguments: tuple[Tensor], out: Tensor) -> None:
        calls = sum(key.partition("@")[0] == name for key in found)
        found[f"{name}@{calls}" if calls else name] = (
            out.numel() * module.weight[0].numel(),
            macs_inside(module, arguments[0].shape, out.shape),
        )

    try:
        classes, shape, *_ = DATASETS[dataset]
        with torch.device("meta"):
            net = networks.create(network, num_classes=classes, in_chans=shape[0]).eval()
            for name, module in net.named_modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.register_forward_hook(functools.partial(count, name))
            net(torch.empty(1, *shape))
    except (KeyError, UserError, RuntimeError):
        return None
    return found


def _sum_pool(
    x: Tensor, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor=None
) -> Tensor:
    return F.avg_pool2d(x, kernel, stride or kernel, padding, ceil_mode, count_include_pad, divisor_override=1)


def _adaptive_sum_pool(x: Tensor, size) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return _windows(height, x.shape[-2]) @ x @ _windows(width, x.shape[-1]).T


def _windows(out: int, size: int) -> Tensor:
    """(out, size): which places every window of an adaptive pool covers."""
    place = torch.arange(size)
    low, high = torch.arange(out) * size // out, -(-torch.arange(1, out + 1) * size // out)
    return ((place >= low[:, None]) & (place < high[:, None])).double()


def _plain_add(x: Tensor, y: Tensor | float, *, alpha: float = 1) -> Tensor:
    return x + y


ONES = {
    torch.add: _plain_add,
    F.avg_pool2d: _sum_pool,
    F.adaptive_avg_pool2d: _adaptive_sum_pool,
    torch.mean: torch.sum,
}
