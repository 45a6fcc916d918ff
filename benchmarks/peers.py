"""Converted networks with the neurons of other libraries (extra `peers`): same weights, thresholds, start and reset.

Each function of PEERS turns a network from `ann2snn.convert` into a function of images (N, C, H, W) and T, which
returns outputs (N, classes), summed over T steps of constant input. Each has the fastest form that was found on a CPU:
layers before the first neuron are computed once, spikes are 0 or 1, their amplitude V is part of the weights that
receive them, and the memory layout is the faster one. A UserError says what a peer cannot express.
"""

import copy
import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ann2snn.conversion.neurons import IF, soft
from ann2snn.errors import UserError
from ann2snn.graph.modules import MaxPool
from ann2snn.graph.network import modules_by_node

Run = Callable[[Tensor, int], Tensor]
PROPORTIONAL = (F.avg_pool2d, F.adaptive_avg_pool2d, torch.mean, torch.reshape, operator.getitem)  # f(V x) = V f(x)


def spikingjelly_step(snn: fx.GraphModule) -> Run:
    """SpikingJelly in step mode 's': one step of the network after the other."""
    from spikingjelly.activation_based import functional, neuron  # type: ignore

    head, body = parts(snn, lambda layer: _spikingjelly(neuron.SimpleIFNode, layer, "s"), torch.channels_last)

    @torch.inference_mode()
    def run(images: Tensor, T: int) -> Tensor:
        functional.reset_net(body)
        currents = head(images.contiguous(memory_format=torch.channels_last))
        return sum((body(*currents) for _ in range(T)), torch.zeros(()))

    return run


def spikingjelly_multi_step(snn: fx.GraphModule) -> Run:
    """SpikingJelly in step mode 'm': every layer takes all steps before the next layer. Memory grows with T.

    Neurons receive (T, N, ...) and other layers (T * N, ...), as in SpikingJelly's `seq_to_ann_forward`.
    """
    from spikingjelly.activation_based import functional, neuron  # type: ignore

    class Node(neuron.SimpleIFNode):
        def forward(self, x):
            return super().forward(x.unflatten(0, (self.T, -1))).flatten(0, 1)

    head, body = parts(snn, lambda layer: _spikingjelly(Node, layer, "m"), torch.channels_last)
    nodes = [module for module in body.children() if isinstance(module, Node)]

    @torch.inference_mode()
    def run(images: Tensor, T: int) -> Tensor:
        functional.reset_net(body)
        for node in nodes:
            node.T = T
        currents = head(images.contiguous(memory_format=torch.channels_last))
        return body(*(torch.cat([c] * T) for c in currents)).unflatten(0, (T, -1)).sum(0)

    return run


def _spikingjelly(kind: type, layer: IF, step_mode: str) -> nn.Module:
    """A SimpleIFNode: on a CPU it is faster than IFNode, and it can have a threshold and start per channel."""
    node = kind(v_threshold=_plain(layer.v_th), v_reset=None, step_mode=step_mode)
    node.set_reset_value("v", _plain(layer.v_init))
    return node


def sinabs(snn: fx.GraphModule) -> Run:
    """Sinabs with at most one spike per step, called for every step: as fast as one call, in constant memory."""
    from sinabs.activation import MembraneSubtract, SingleSpike  # type: ignore
    from sinabs.layers import IAFSqueeze  # type: ignore

    class IAF(IAFSqueeze):
        def init_state_with_shape(self, shape, randomize=False):
            self.v_mem = self.start[0].expand(shape)

    def neuron(layer):
        node = IAF(spike_threshold=layer.v_th, spike_fn=SingleSpike, reset_fn=MembraneSubtract(), num_timesteps=1)
        node.start = (layer.v_init,)  # in a tuple, because sinabs treats every buffer as a state
        return node

    head, body = parts(snn, neuron, torch.contiguous_format)
    nodes = [module for module in body.children() if isinstance(module, IAF)]

    @torch.inference_mode()
    def run(images: Tensor, T: int) -> Tensor:
        for node in nodes:
            node.v_mem = torch.zeros(0)  # initial state
        currents = head(images.contiguous())
        return sum((body(*currents) for _ in range(T)), torch.zeros(()))

    return run


PEERS: dict[str, Callable[[fx.GraphModule], Run]] = {
    "spikingjelly step": spikingjelly_step,
    "spikingjelly multi-step": spikingjelly_multi_step,
    "sinabs": sinabs,
}


def agreement(outputs: Tensor, ours: Tensor) -> float:
    """Share of images for which both outputs (N, classes) have the same class."""
    return (outputs.argmax(1) == ours.argmax(1)).double().mean().item()


def parts(snn: fx.GraphModule, neuron: Callable[[IF], nn.Module], layout: torch.memory_format):
    """Split a converted network into its static and its dynamic part.

    Args:
        snn: The network.
        neuron: Returns the peer's neurons for a layer.
        layout: Memory format of the weights.

    Returns:
        A network from images to the static inputs of the other one, and that network, with the peer's neurons.
    """
    net, dynamic = unit_spikes(snn).to(memory_format=layout), set()
    modules = modules_by_node(net)
    for node in net.graph.nodes:
        layer = modules.get(node)
        if isinstance(layer, IF):
            setattr(net, node.target, neuron(layer).eval())
        if isinstance(layer, IF) or node.op == "output" or dynamic.intersection(node.all_input_nodes):
            dynamic.add(node)
    head, body, static_copies, dynamic_copies = fx.Graph(), fx.Graph(), {}, {}
    static = [n for n in net.graph.nodes if n not in dynamic and dynamic.intersection(n.users) and n.op != "get_attr"]
    dynamic_copies.update({node: body.placeholder(node.name) for node in static})
    for node in net.graph.nodes:
        if node not in dynamic:
            static_copies[node] = head.node_copy(node, static_copies.__getitem__)
        if node in dynamic or node.op == "get_attr":
            dynamic_copies[node] = body.node_copy(node, dynamic_copies.__getitem__)
    head.output(tuple(static_copies[node] for node in static))
    return fx.GraphModule(net, head), fx.GraphModule(net, body)


class Scale(nn.Module):
    """x * size, where `size` broadcasts over the (C, H, W) of an image."""

    def __init__(self, size: Tensor):
        super().__init__()
        self.size = nn.Buffer(size)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.size


def unit_spikes(snn: fx.GraphModule) -> fx.GraphModule:
    """A copy for neurons with spikes of 1 instead of V: their readers have V in their weights, or multiply by it."""
    net = copy.deepcopy(snn)
    sizes: dict[fx.Node, Tensor] = {}  # factor that the value of a node lacks
    modules = modules_by_node(net)
    for node in list(net.graph.nodes):
        module = modules.get(node)
        small = [source for source in node.all_input_nodes if source in sizes]
        if isinstance(module, MaxPool):
            raise UserError(f"{module.name}: peers have no max-pool of the current that is summed over time.")
        if not (len(small) == 1 and _absorb(node, module, sizes, *small)):
            for source in small:
                name = f"{source.name}_for_{node.name}"
                net.add_submodule(name, Scale(sizes[source]))
                with net.graph.inserting_before(node):
                    node.replace_input_with(source, net.graph.call_module(name, (source,)))
        if isinstance(module, IF):
            if module.reset is not soft or module.shift.any():
                raise UserError(f"{module.name}: peers are compared with soft reset and no shift.")
            sizes[node] = module.v_th
    return net


def _absorb(node: fx.Node, module: nn.Module | None, sizes: dict[fx.Node, Tensor], small: fx.Node) -> bool:
    """Put the factor of an input into a node's weights or sum, or leave it to its readers, where that is possible."""
    size = sizes[small]
    if isinstance(module, nn.Conv2d) and size.shape == (module.in_channels, 1, 1):
        readers = module.out_channels // module.groups
        size = size.reshape(module.groups, -1, 1, 1).repeat_interleave(readers, 0)
    elif size.dim() and not (isinstance(module, nn.Linear) and size.shape == (module.in_features,)):
        return False
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.weight.data = module.weight * size
    elif node.target in PROPORTIONAL:
        sizes[node] = size
    elif node.target is torch.add and len(node.all_input_nodes) == 2 and not node.kwargs:
        (other,) = set(node.all_input_nodes) - {small}
        node.args, node.kwargs = (other, small), {"alpha": size.item()}
    else:
        return False
    return True


def _plain(value: Tensor) -> Tensor | float:
    return value if value.dim() else value.item()
