"""Forward temporal bias correction: a bias for every channel and step."""

from itertools import cycle, islice

import torch
from torch import Tensor

from ann2snn.baselines.mmse import mmse_threshold  # type: ignore
from ann2snn.methods import Count, Statistics, TimedIF, channel_mean, method, replace_activations, stepwise, track


@method(paper="wu2024ftbc")
def ftbc(ann, stats, T, images, *, alpha=0.5, updates=50, batch: Count = 128):
    """V_th = MMSE for every channel, shift V_th / (2T), and a bias for every channel and step:

        m <- m + current + V_th / (2T) - b_c[t];   b_c[t] <- b_c[t] + alpha (mean spikes_c[t] - mean ANN activation_c)

    with means over a batch of images and all places. Every batch corrects all steps of a layer in order, and each goes
    on from the corrected step; the layers after it hear the corrected spikes. `updates` batches are taken in order from
    the calibration images, and from the start again after the last. The output layer keeps its bias.

    X. Wu, V. Bojkovic, B. Gu, K. Suo, K. Zou, "FTBC: Forward Temporal Bias Correction for Optimizing ANN-SNN
    Conversion", ECCV 2024.

    Differences from the paper and its code: the code measures on the test set after every 5 or 10 batches and reports
    the best; here nothing is selected, and the last biases are taken. `updates=50` is the default of its program for
    CIFAR (5 iterations of 10 batches of 128); its script for CIFAR-100 runs 500 (100 of 5), the one for ImageNet 100.
    Every iteration there draws new batches from the whole training set, with its augmentation. V_th is that of `mmse`
    with the floor error, over all calibration images at once (the code averages over seven batches), and one for the
    layer where it is linear, as in the code. In the code a step that was just corrected fires above V_th, here at V_th
    too, as in every other step. Its variants are left out: largest activation and alpha = 0.005 for threshold-ReLU
    sources, start at V_th / 2 and alpha = 0.4 for QCFS ones, and one that compares means over time. Read: the code (in
    a copy of the authors' repository) and the abstract.
    """

    def start(activation):
        layer = stats[activation.name]
        v_th = mmse_threshold(layer, T, "floor", per_channel=layer.unit_max.dim() == 3)
        shift = v_th / (2 * T) - activation.shift
        return Correcting(v_th, shift * torch.ones(T, *layer.channel_mean.shape).to(v_th), alpha)

    learning = replace_activations(ann, start)
    neurons = {neuron.name: neuron for neuron in learning.children() if isinstance(neuron, Correcting)}
    run_steps, parts = stepwise(learning), images.split(batch)
    expected = [Statistics(ann, lambda part=part: [part]) for part in parts]
    reads = [*range(8, T, 8), T]

    def run():
        for part, means in islice(cycle(zip(parts, expected, strict=True)), updates):
            for name, neuron in neurons.items():
                neuron.expected = means[name].channel_mean
            yield from run_steps(part, reads)

    with torch.inference_mode():
        for _ in track(run(), "calibration", updates * len(reads)):
            pass
    return replace_activations(ann, lambda a: TimedIF(neurons[a.name].v_th, shift=neurons[a.name].shift))


class Correcting(TimedIF):
    """A timed neuron that corrects the shift of every step before it takes it, from all images at once."""

    expected: Tensor  # (C, 1, 1) or (F,): the mean activation of the images that are running

    def __init__(self, v_th: Tensor, shift: Tensor, alpha: float):
        super().__init__(v_th, shift=shift)
        self.alpha = alpha

    def step(self, state: tuple[int, Tensor], current: Tensor) -> tuple[tuple[int, Tensor], Tensor]:
        t, m = state
        m = m + current
        m += self.shift[t]
        fired = torch.empty_like(m)  # compared as floats, which is faster
        mean = channel_mean(torch.ge(m, self.v_th, out=fired))
        correction = self.alpha * (self.v_th * mean - self.expected)
        self.shift[t] -= correction
        m -= correction
        spikes = self.v_th * torch.ge(m, self.v_th, out=fired)
        m -= spikes
        return (t + 1, m), spikes
