"""Closed-loop conversion, the method of this suite; docs/closed-loop.md has its idea and measurements."""

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ann2snn.methods import (
    IF,
    Positive,
    Preactivations,
    activations,
    layer_by_layer,
    method,
    modules_by_node,
    replace_activations,
    spike_counts_of,
    threshold,
    to_channels_last,
)

V_TH = [0.8**k for k in range(11)]  # candidates, relative to the largest activation of the channel
V_INIT = [0.2, 0.5]  # relative to V_th
FINE_V_TH, FINE_V_INIT = [0.9, 1.0, 1.1], [-0.2, -0.1, 0.0, 0.1, 0.2]  # around the best of these
HALF_WEIGHT = 0.25  # weight of the error at T / 2: later layers receive the spikes before T
SAMPLES, CURRENTS = 8_192, 2**25  # units times images per channel, and numbers, on which candidates are compared
LARGEST_GRAM = 8_192  # inputs of a layer whose weights are fitted; the matrix of that many takes 0.5 GiB
VALUES = 2**24  # units of the largest layer times images; about eight numbers are stored for each


@method(paper="ann2snn2026")
def closed_loop(ann, stats, T, images, *, least_squares=True, ridge: Positive = 1e-2):
    """Least squares, thresholds and start potentials, layer by layer.

    Every layer is calibrated on the spikes that arrive from the layers before it, which are already converted. In
    forward order, with x the mean input over T steps, a the ANN's activation and z its pre-activation:

    1. Weights and bias, in closed form (ridge regression towards the weights of the ANN, float64 normal equations):

           minimise over (W', b')  |W' x + b' + rest - z|^2 + ridge s |(W', b') - (W, b)|^2

       s is the mean of the diagonal of the normal matrix, and the rest is what other branches, such as a shortcut,
       contribute to the current.
    2. Per channel, V_th and the start potential m(0) by search over a grid:

           minimise  |mean output over T steps - a|^2 + |mean output over T/2 steps - a|^2 / 4

    The output layer has step 1 only. Binary spikes, soft reset; no layer waits, so the output is known after T steps.

    Layers with more than 8,192 inputs per output keep their weights. Of large images fewer are used: 2^24 divided by
    the units of the largest layer. A layer that is called twice gets weights for each call.

    Source: this suite, 2026. Calibration on the spikes of converted layers is from SNN calibration (Li 2021, `snnc_ap`)
    and FTBC (Wu 2024, `ftbc`), which correct biases and start potentials. Layer-wise least squares are from
    post-training quantisation (Hubara 2021; Frantar & Alistarh 2022). New, as far as we know, is their combination:
    weights in closed form, from the mean spikes that arrive. Read: the code of `snnc_ap` and `ftbc`.
    """
    layers = activations(ann)
    largest = max(stats[name].unit_mean.numel() for name in layers)
    images = images[: max(1, VALUES // largest)]

    def neuron(activation):
        v_th = threshold(stats[activation.name].channel_max, activation.name)
        return IF(v_th, shift=-activation.shift, v_init=v_th / 2)

    snn = replace_activations(ann, neuron)
    target = Preactivations(ann, images)

    def visit(neuron, trace):
        z = target.of(trace.name)
        if least_squares and trace.receives_spikes:
            fit(trace, z, ridge)
        a = layers[neuron.name](z)
        search(neuron, trace, a, [(v, m) for v in V_TH for m in V_INIT], 0.0)
        search(neuron, trace, a, [(v, m) for v in FINE_V_TH for m in FINE_V_INIT], neuron.v_init / neuron.v_th)

    def visit_output(trace):
        fit(trace, target.of(trace.name), ridge)

    layer_by_layer(snn, images, T, visit, visit_output if least_squares else None)
    return snn


class Regression:
    """Ridge regression, towards zero, of an error on the inputs of a convolution or linear layer.

    Attributes:
        layer: The layer, to whose weights and bias `update` adds the solution.
        source: The node of its input in `trace.layer`.
    """

    def __init__(self, node: fx.Node, layer: nn.Conv2d | nn.Linear):
        self.layer, self.source = layer, node.all_input_nodes[0]
        self.groups = 1 if isinstance(layer, nn.Linear) else layer.groups
        outputs, n = len(layer.weight) // self.groups, layer.weight[0].numel()
        zeros = torch.zeros(self.groups, n + 1, n + 1 + outputs, dtype=torch.double, device=layer.weight.device)
        self.normal, self.moments = zeros.split([n + 1, outputs], 2)  # sums of inputs times inputs, and times errors

    def add(self, x: Tensor, error: Tensor) -> None:
        """Add a batch: the inputs of the layer, and the error that its outputs should remove."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            u, r = x.reshape(1, -1, x.shape[-1]), error.reshape(1, -1, error.shape[-1])
        else:
            u = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
            u, r = (y.unflatten(1, (self.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2) for y in (u, error.flatten(2)))
        u = torch.cat([u, u.new_ones(*u.shape[:2], 1)], 2)  # (groups, outputs per channel, n + 1), a one for the bias
        self.normal += u.mT @ u
        self.moments += u.mT @ r

    def update(self, ridge: float) -> None:
        """Add the solution to the weights and the bias."""
        diagonal = self.normal.diagonal(dim1=1, dim2=2)
        diagonal += ridge * diagonal.mean(1, keepdim=True)
        change = torch.cholesky_solve(self.moments, torch.linalg.cholesky(self.normal)).mT.flatten(0, 1)
        weight, bias = self.layer.weight, self.layer.bias
        if bias is None:
            bias = nn.Parameter(torch.zeros_like(weight.flatten(1)[:, 0]), requires_grad=False)
            self.layer.register_parameter("bias", bias)
        weight.add_(change[:, :-1].reshape(weight.shape))
        bias.add_(change[:, -1])


def fit(trace, z: Tensor, ridge: float) -> None:
    """Fit the weights before a layer, one summand of its current after the other, to the pre-activations z (N, ...)."""
    for regression in summands(trace.layer):
        done = 0
        for inputs in trace.mean_inputs():
            interpreter = fx.Interpreter(trace.layer, garbage_collect_values=False)
            current = interpreter.run(*inputs, enable_io_processing=False)
            regression.add(interpreter.env[regression.source], z[done : done + len(current)] - current)
            done += len(current)
        regression.update(ridge)


def summands(layer: fx.GraphModule) -> list[Regression]:
    """The convolutions and linear layers whose outputs add up to the current."""
    modules, found = modules_by_node(layer), []
    stack = [node.args[0] for node in layer.graph.nodes if node.op == "output"]
    while stack:
        node: fx.Node = stack.pop()  # type: ignore[assignment]
        module = modules.get(node)
        if isinstance(module, nn.Conv2d | nn.Linear) and can_be_fitted(module):
            found.append(Regression(node, module))
        elif node.target is torch.add and not node.kwargs and len(set(node.args)) == 2:
            stack += [n for n in node.args if isinstance(n, fx.Node) and len(n.users) == 1]
    return found


def can_be_fitted(layer: nn.Conv2d | nn.Linear) -> bool:
    """Whether a layer pads with zeros and has few enough inputs per output."""
    pads_zeros = isinstance(layer, nn.Linear) or (layer.padding_mode == "zeros" and not isinstance(layer.padding, str))
    return pads_zeros and layer.weight[0].numel() <= LARGEST_GRAM


def search(neuron: IF, trace, a: Tensor, candidates: list[tuple[float, float]], v_init: Tensor | float) -> None:
    """Choose V_th and the start potential of every channel by the squared error of the mean output.

    Args:
        neuron: The neuron, which gets the best ones.
        trace: Its trace.
        a: The activations (N, ...) of the ANN.
        candidates: Factors of the neuron's V_th, and start potentials relative to V_th, which are added to `v_init`.
        v_init: A number, or one per channel.
    """
    currents = sample(trace, a.shape[1:])
    a, T, v_th = to_channels_last(a[: currents.shape[1]]), trace.T, neuron.v_th
    weights = {T // 2: HALF_WEIGHT, T: 1.0} if T > 1 else {T: 1.0}
    units = [0, *range(2, a.dim())]
    best = a.new_full(v_th.shape, torch.inf)
    for factor, start in candidates:
        v = factor * v_th
        candidate = IF(v, shift=neuron.shift, v_init=v * (v_init + start))
        counts = spike_counts_of(candidate, currents, list(weights))
        errors = [
            w * (n * (v / t) - a).square_().mean(units) for n, (t, w) in zip(counts, weights.items(), strict=True)
        ]
        error = sum(errors).reshape(v_th.shape)  # type: ignore[union-attr]
        is_better = error < best
        best = torch.where(is_better, error, best)
        neuron.v_th = torch.where(is_better, candidate.v_th, neuron.v_th)
        neuron.v_init = torch.where(is_better, candidate.v_init, neuron.v_init)


def sample(trace, shape: torch.Size) -> Tensor:
    """Currents (T, n, ...) of the first images, for a layer of this shape."""
    n = min(-(-SAMPLES // shape[1:].numel()), max(1, CURRENTS // (shape.numel() * trace.T)))
    batches, blocks, done = [], [], 0
    for first, currents in trace.currents():
        blocks.append(currents)
        if first + len(currents) == trace.T:
            batches.append(torch.cat(blocks))
            blocks, done = [], done + batches[-1].shape[1]
            if done >= n:
                break
    currents = torch.cat(batches, 1)[:, :n]
    return to_channels_last(currents.flatten(0, 1)).unflatten(0, currents.shape[:2])
