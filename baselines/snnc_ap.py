"""SNN calibration, advanced: a start potential for every neuron, and weights."""

import copy

import torch
from torch import Tensor, fx, nn

from ann2snn.baselines.mmse import mmse  # type: ignore
from ann2snn.methods import Neuron, activations, layer_by_layer, method, modules_by_node, simulate, track

RATE, BATCH = 1e-5, 32


@method(paper="li2021snnc")
def snnc_ap(ann, stats, T, images, *, per_channel=False, iterations=0):
    """V_th = MMSE, shift V_th / (2T); then, layer by layer, a start potential for every neuron from its mean output:

        m(0) = T (mean of the ANN's activation over the images - mean of the neuron's output over images and T steps)

    from the spikes of the corrected layers before. Before that, with `iterations`, the weights: see `tune`.

    Y. Li, S. Deng, X. Dong, R. Gong, S. Gu, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", ICML 2021: the advanced pipeline (weight and potential calibration).

    Differences from the paper and its code: `iterations=0` is the code's choice for CIFAR; for ImageNet it takes 5,000.
    V_th is that of `mmse` with the floor error, over all calibration images at once (the code averages over seven
    batches); the means are over all calibration images too (the code takes one batch: 128 images for CIFAR, 64 for
    ImageNet, with the augmentation of the training); `per_channel=False`, one threshold for a layer, is the code's
    choice in all its scripts; the code always calibrates for 32 steps, here T is the T that is simulated. Read: the
    code; not the full text of the paper.
    """
    images = images.to(next(ann.parameters()))
    snn = mmse(ann, stats, T, error="floor", per_channel=per_channel)
    if iterations:
        for activation in activations(ann).values():
            tune(snn, ann, stats, activation, images, T, iterations)

    def start(neuron, train):
        neuron.v_init = (T * (stats[neuron.name].unit_mean - train.mean())).to(neuron.v_th)

    layer_by_layer(snn, images, T, start)
    return snn


def tune(snn: fx.GraphModule, ann: fx.GraphModule, stats, activation, images: Tensor, T: int, iterations: int) -> None:
    """Gives `snn` weights of its own before one layer of neurons, and moves them towards the ANN's activation a:

        minimise |V/T clip(floor(z T/V), 0, T) - a|^2,  z = the current from the mean spikes that the layer hears

    by Adam from the rate 1e-5 down a cosine, 32 images at a time, the gradient straight through the floor. Differences
    from the code: where branches are added the weights of all are moved (the code leaves those of a shortcut as they
    are); what is drawn is drawn from a fixed seed.
    """
    (node,) = (n for n, m in modules_by_node(snn).items() if isinstance(m, Neuron) and m.name == activation.name)
    layer, sources = between(snn, node)
    weights = [m.weight for m in layer.children() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not weights:
        return

    def heard(n: fx.Node) -> Tensor:
        """(N, ...): the images, or what a neuron emits in the mean of T steps."""
        if n.op == "placeholder":
            return images
        return simulate(until(snn, n), images, T).mean(T)

    inputs = [heard(n) for n in sources]
    with torch.inference_mode():
        aim = torch.cat([until(ann, node)(batch) for batch in images.split(BATCH)])
    v = modules_by_node(snn)[node].v_th
    optimizer = torch.optim.Adam([weight.requires_grad_() for weight in weights], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    generator = torch.Generator().manual_seed(0)
    for _ in track(range(iterations), activation.name):
        some = torch.randperm(len(images), generator=generator)[:BATCH]
        spikes = ((layer(*(x[some] for x in inputs)) - activation.shift) * T / v).clamp(0, T)
        spikes = spikes + (spikes.floor() - spikes).detach()
        optimizer.zero_grad()
        (spikes * v / T - aim[some]).square().sum(1).mean().backward()
        optimizer.step()
        schedule.step()
    for weight in weights:
        weight.requires_grad_(False)


def between(snn: fx.GraphModule, node: fx.Node) -> tuple[fx.GraphModule, list[fx.Node]]:
    """The current of a layer of neurons as a function of what it hears, and the nodes of that: neurons or the images.

    Its weights are copied first: what `snn` shares with the ANN stays as it is.
    """
    found, stack, known = set(), list(node.all_input_nodes), modules_by_node(snn)
    while stack:
        if (n := stack.pop()) not in found:
            found.add(n)
            stack += [] if isinstance(known.get(n), Neuron) else n.all_input_nodes
    graph, copies, sources = fx.Graph(), {}, []
    for n in (n for n in snn.graph.nodes if n in found):
        if n.op == "placeholder" or isinstance(known.get(n), Neuron):
            copies[n] = graph.placeholder(n.name)
            sources.append(n)
        else:
            copies[n] = graph.node_copy(n, copies.__getitem__)
            if isinstance(known.get(n), nn.Conv2d | nn.Linear):
                setattr(snn, n.target, copy.deepcopy(known[n]))
    graph.output(copies[node.args[0]])
    return fx.GraphModule(snn, graph), sources


def until(net: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    """The network up to a node, which is its output."""
    part = fx.GraphModule(net, copy.deepcopy(net.graph))
    nodes = {n.name: n for n in part.graph.nodes}
    nodes["output"].args = (nodes[node.name],)
    part.graph.eliminate_dead_code()
    part.recompile()
    return part
