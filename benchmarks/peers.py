"""Converted networks with the neurons of other libraries (extra `peers`): same weights, thresholds, start and reset.

Each of PEERS makes, of a network that `ann2snn.convert` gave, a function (images (N, C, H, W), T) -> outputs
(N, classes), summed over T steps of constant input. Each is the fastest form that was found on a CPU: what lies before
the first neuron is computed once, spikes are 0 or 1 and their size V stands in the weights that read them, and the
memory layout is the faster one. What a peer cannot express is refused in a sentence (UserError).
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportMissingImports=false
# pyright: reportOptionalMemberAccess=false, reportReturnType=false
# (torch.fx types every argument and target of a node as a union of all that it could be; the peers are optional)

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
    """SpikingJelly, step mode 's': the whole network at every step."""
    from spikingjelly.activation_based import functional, neuron

    head, body = parts(snn, lambda layer: _spikingjelly(neuron.SimpleIFNode, layer, "s"), torch.channels_last)

    @torch.inference_mode()
    def run(images, T):
        functional.reset_net(body)
        currents = head(images.contiguous(memory_format=torch.channels_last))
        return sum(body(*currents) for _ in range(T))

    return run


def spikingjelly_multi_step(snn: fx.GraphModule) -> Run:
    """SpikingJelly, step mode 'm': every layer takes all steps before the next one; memory grows with T.

    A neuron sees (T, N, ...), all other layers (T * N, ...), as its `seq_to_ann_forward` lets each of them.
    """
    from spikingjelly.activation_based import functional, neuron

    class Node(neuron.SimpleIFNode):
        def forward(self, x):
            return super().forward(x.unflatten(0, (self.T, -1))).flatten(0, 1)

    head, body = parts(snn, lambda layer: _spikingjelly(Node, layer, "m"), torch.channels_last)
    nodes = [module for module in body.children() if isinstance(module, Node)]

    @torch.inference_mode()
    def run(images, T):
        functional.reset_net(body)
        for node in nodes:
            node.T = T
        currents = head(images.contiguous(memory_format=torch.channels_last))
        return body(*(torch.cat([c] * T) for c in currents)).unflatten(0, (T, -1)).sum(0)

    return run


def _spikingjelly(kind: type, layer: IF, step_mode: str) -> nn.Module:
    """SimpleIFNode: on a CPU faster than IFNode, and its threshold and start may differ by channel."""
    node = kind(v_threshold=_plain(layer.v_th), v_reset=None, step_mode=step_mode)
    node.set_reset_value("v", _plain(layer.v_init))
    return node


def sinabs(snn: fx.GraphModule) -> Run:
    """sinabs, with at most one spike a step; called at every step: as fast as once for all, in memory flat in T."""
    from sinabs.activation import MembraneSubtract, SingleSpike
    from sinabs.layers import IAFSqueeze

    class IAF(IAFSqueeze):
        def init_state_with_shape(self, shape, randomize=False):
            self.v_mem = self.start[0].expand(shape)

    def neuron(layer):
        node = IAF(spike_threshold=layer.v_th, spike_fn=SingleSpike, reset_fn=MembraneSubtract(), num_timesteps=1)
        node.start = (layer.v_init,)  # in a tuple: every buffer would be a state
        return node

    head, body = parts(snn, neuron, torch.contiguous_format)
    nodes = [module for module in body.children() if isinstance(module, IAF)]

    @torch.inference_mode()
    def run(images, T):
        for node in nodes:
            node.v_mem = torch.zeros(0)  # as new
        currents = head(images.contiguous())
        return sum(body(*currents) for _ in range(T))

    return run


PEERS: dict[str, Callable[[fx.GraphModule], Run]] = {
    "spikingjelly step": spikingjelly_step,
    "spikingjelly multi-step": spikingjelly_multi_step,
    "sinabs": sinabs,
}


def agreement(outputs: Tensor, ours: Tensor) -> float:
    """The share of images that both (N, classes) put into the same class."""
    return (outputs.argmax(1) == ours.argmax(1)).double().mean().item()


def parts(snn: fx.GraphModule, neuron: Callable[[IF], nn.Module], layout: torch.memory_format):
    """(images -> what is the same at every step, a tuple; the rest with `neuron(layer)` for every layer of neurons)."""
    net, changing = unit_spikes(snn).to(memory_format=layout), set()
    modules = modules_by_node(net)
    for node in net.graph.nodes:
        layer = modules.get(node)
        if isinstance(layer, IF):
            setattr(net, node.target, neuron(layer).eval())
        if isinstance(layer, IF) or node.op == "output" or changing.intersection(node.all_input_nodes):
            changing.add(node)
    head, body, once, each = fx.Graph(), fx.Graph(), {}, {}
    still = [n for n in net.graph.nodes if n not in changing and changing.intersection(n.users) and n.op != "get_attr"]
    each.update({node: body.placeholder(node.name) for node in still})
    for node in net.graph.nodes:
        if node not in changing:
            once[node] = head.node_copy(node, once.__getitem__)
        if node in changing or node.op == "get_attr":
            each[node] = body.node_copy(node, each.__getitem__)
    head.output(tuple(once[node] for node in still))
    return fx.GraphModule(net, head), fx.GraphModule(net, body)


class Times(nn.Module):
    """x * size, with a size that broadcasts over one image's (C, H, W)."""

    def __init__(self, size: Tensor):
        super().__init__()
        self.size = nn.Buffer(size)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.size


def unit_spikes(snn: fx.GraphModule) -> fx.GraphModule:
    """A copy for neurons that send 1 where ours send V: V goes into what reads the spikes, or is multiplied there."""
    net = copy.deepcopy(snn)
    sizes: dict[fx.Node, Tensor] = {}  # of what is too small by it
    modules = modules_by_node(net)
    for node in list(net.graph.nodes):
        module = modules.get(node)
        small = [source for source in node.all_input_nodes if source in sizes]
        if isinstance(module, MaxPool):
            raise UserError(f"{module.name}: peers have no max-pool of the current that is summed over time.")
        if not (len(small) == 1 and _takes(node, module, sizes, *small)):
            for source in small:
                name = f"{source.name}_for_{node.name}"
                net.add_submodule(name, Times(sizes[source]))
                with net.graph.inserting_before(node):
                    node.replace_input_with(source, net.graph.call_module(name, (source,)))
        if isinstance(module, IF):
            if module.reset is not soft or module.shift.any():
                raise UserError(f"{module.name}: peers are compared with soft reset and no shift.")
            sizes[node] = module.v_th
    return net


def _takes(node: fx.Node, module: nn.Module | None, sizes: dict[fx.Node, Tensor], small: fx.Node) -> bool:
    """Whether the node needs no multiplied input, as its weights, its readers or its sum see to the size."""
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
