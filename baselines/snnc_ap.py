"""SNN calibration, advanced pipeline: start potentials per neuron, and weights."""

import torch
from torch import Tensor, nn

from ann2snn.baselines.mmse import mmse  # type: ignore
from ann2snn.methods import Preactivations, activations, layer_by_layer, method, track

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
    snn, layers = mmse(ann, stats, T, error="floor", per_channel=per_channel), activations(ann)
    if iterations:
        target = Preactivations(ann, images)

        def calibrate_weights(neuron, trace):
            activation = layers[neuron.name]
            tune(neuron, trace, activation(target.of(trace.name)), activation.shift, iterations)

        layer_by_layer(snn, images, T, calibrate_weights)

    def start(neuron, trace):
        neuron.v_init = (T * (stats[neuron.name].unit_mean - trace.mean())).to(neuron.v_th)

    layer_by_layer(snn, images, T, start)
    return snn


def tune(neuron, trace, a: Tensor, shift: float, iterations: int) -> None:
    """Calibrate the weights before a layer of neurons towards the activations a (N, ...) of the ANN:

        minimise |V/T clip(floor(z T/V), 0, T) - a|^2,  z = the current from the mean spikes of the layers before

    The optimiser is Adam with a rate of 1e-5 on a cosine schedule and batches of 32 images. The gradient passes
    straight through the floor. Differences from the code: where branches are added, the weights of all branches are
    calibrated; the code does not calibrate those of a shortcut. Random batches are drawn from a fixed seed.
    """
    layer, v, T = trace.layer, neuron.v_th, trace.T
    weights = [m.weight for m in layer.children() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not weights:
        return
    inputs = [torch.cat(batches) for batches in zip(*trace.mean_inputs(), strict=True)]
    optimizer = torch.optim.Adam([weight.requires_grad_() for weight in weights], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    generator = torch.Generator().manual_seed(0)
    for _ in track(range(iterations), neuron.name):
        indices = torch.randperm(len(a), generator=generator)[:BATCH]
        with torch.enable_grad():
            spikes = ((layer(*(x[indices] for x in inputs)) - shift) * T / v).clamp(0, T)
            spikes = spikes + (spikes.floor() - spikes).detach()
            optimizer.zero_grad()
            (spikes * v / T - a[indices]).square().sum(1).mean().backward()
        optimizer.step()
        schedule.step()
    for weight in weights:
        weight.requires_grad_(False)
