"""SNN calibration, advanced pipeline: start potentials per neuron, and weights."""

import copy

import torch
from torch import Tensor, fx, nn

from ann2snn.baselines.mmse import mmse  # type: ignore
from ann2snn.methods import Neuron, activations, layer_by_layer, method, modules_by_node, simulate, track

LEARNING_RATE = 1e-5
BATCH = 32  # images


@method(paper="li2021snnc")
def snnc_ap(ann, stats, T, images, *, per_channel=False, iterations=0):
    """MMSE thresholds, calibrated potentials.

    V_th = MMSE, shift V_th / (2T), and a calibrated start potential per neuron, layer by layer:

        m(0) = T (mean of the ANN's activation over the images - mean of the neuron's output over images and T steps)

    A layer receives the spikes of the calibrated layers before it. With `iterations`, weights are calibrated before the
    start potentials; see `tune`.

    Y. Li, S. Deng, X. Dong, R. Gong, S. Gu, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", ICML 2021: the advanced pipeline (weight and potential calibration).

    Differences from the paper and its code: `iterations=0` is the choice of the code for CIFAR; for ImageNet it uses
    5,000. V_th is that of `mmse` with the floor error over all calibration images; the code averages over seven
    batches. The means are over all calibration images too; the code uses one batch: 128 images for CIFAR, 64 for
    ImageNet, with the augmentation of the training. `per_channel=False`, one threshold per layer, is the choice of all
    scripts of the code. The code always calibrates for 32 steps, this method for the simulated T. Read: the code; not
    the full text of the paper.
    """
    images = images.to(next(ann.parameters()))
    snn = mmse(ann, stats, T, error="floor", per_channel=per_channel)
    if iterations:
        for activation in activations(ann).values():
            tune(snn, ann, stats, activation, images, T, iterations)

    def start(neuron, trace):
        neuron.v_init = (T * (stats[neuron.name].unit_mean - trace.mean())).to(neuron.v_th)

    layer_by_layer(snn, images, T, start)
    return snn


def tune(snn: fx.GraphModule, ann: fx.GraphModule, stats, activation, images: Tensor, T: int, iterations: int) -> None:
    """Calibrate the weights before one layer of neurons towards the activation a of the ANN:

        minimise |V/T clip(floor(z T/V), 0, T) - a|^2,  z = the current from the mean spikes of the layers before

    The optimiser is Adam with a rate of 1e-5 on a cosine schedule and batches of 32 images. The gradient passes
    straight through the floor. `snn` gets its own copies of the weights. Differences from the code: where branches are
    added, the weights of all branches are calibrated; the code does not calibrate those of a shortcut. Random batches
    are drawn from a fixed seed.
    """
    (node,) = (n for n, m in modules_by_node(snn).items() if isinstance(m, Neuron) and m.name == activation.name)
    layer, sources = input_layer(snn, node)
    weights = [m.weight for m in layer.children() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not weights:
        return

    def mean_input(n: fx.Node) -> Tensor:
        """Mean input (N, ...) over T steps: the images, or the output of a layer of neurons."""
        if n.op == "placeholder":
            return images
        return simulate(network_up_to(snn, n), images, T).mean(T)

    inputs = [mean_input(n) for n in sources]
    with torch.inference_mode():
        target = torch.cat([network_up_to(ann, node)(batch) for batch in images.split(BATCH)])
    v = modules_by_node(snn)[node].v_th
    optimizer = torch.optim.Adam([weight.requires_grad_() for weight in weights], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    generator = torch.Generator().manual_seed(0)
    for _ in track(range(iterations), activation.name):
        indices = torch.randperm(len(images), generator=generator)[:BATCH]
        spikes = ((layer(*(x[indices] for x in inputs)) - activation.shift) * T / v).clamp(0, T)
        spikes = spikes + (spikes.floor() - spikes).detach()
        optimizer.zero_grad()
        (spikes * v / T - target[indices]).square().sum(1).mean().backward()
        optimizer.step()
        schedule.step()
    for weight in weights:
        weight.requires_grad_(False)


def input_layer(snn: fx.GraphModule, node: fx.Node) -> tuple[fx.GraphModule, list[fx.Node]]:
    """The current of a layer of neurons as a function of its inputs, and the nodes of these: neurons or the images.

    The weights are copied first, so that those of the ANN do not change.
    """
    visited, stack, modules = set(), list(node.all_input_nodes), modules_by_node(snn)
    while stack:
        if (n := stack.pop()) not in visited:
            visited.add(n)
            stack += [] if isinstance(modules.get(n), Neuron) else n.all_input_nodes
    graph, copies, sources = fx.Graph(), {}, []
    for n in (n for n in snn.graph.nodes if n in visited):
        if n.op == "placeholder" or isinstance(modules.get(n), Neuron):
            copies[n] = graph.placeholder(n.name)
            sources.append(n)
        else:
            copies[n] = graph.node_copy(n, copies.__getitem__)
            if isinstance(modules.get(n), nn.Conv2d | nn.Linear):
                setattr(snn, n.target, copy.deepcopy(modules[n]))
    graph.output(copies[node.args[0]])
    return fx.GraphModule(snn, graph), sources


def network_up_to(net: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    """The network up to a node, whose value is the output."""
    part = fx.GraphModule(net, copy.deepcopy(net.graph))
    nodes = {n.name: n for n in part.graph.nodes}
    nodes["output"].args = (nodes[node.name],)
    part.graph.eliminate_dead_code()
    part.recompile()
    return part
