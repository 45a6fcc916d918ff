"""Forward temporal bias correction: a bias per channel and step."""

from itertools import cycle, islice

import torch
from torch import Tensor

from ann2snn.baselines.mmse import mmse_threshold  # type: ignore
from ann2snn.methods import Count, Statistics, TimeVaryingIF, channel_mean, method, replace_activations, stepwise, track


@method(paper="wu2024ftbc")
def ftbc(ann, stats, T, images, *, alpha=0.5, updates=50, batch: Count = 128):
    """MMSE thresholds and a bias per step.

    V_th = MMSE per channel, shift V_th / (2T), and a calibrated bias per channel and step:

        m <- m + current + V_th / (2T) - b_c[t];   b_c[t] <- b_c[t] + alpha (mean spikes_c[t] - mean ANN activation_c)

    Means are over a batch of images and all positions. Every batch corrects all steps of a layer in order. A step is
    repeated with its corrected bias before the next one, and later layers receive the corrected spikes. `updates`
    batches are taken from the calibration images in order, repeatedly if necessary. The output layer keeps its bias.

    X. Wu, V. Bojkovic, B. Gu, K. Suo, K. Zou, "FTBC: Forward Temporal Bias Correction for Optimizing ANN-SNN
    Conversion", ECCV 2024.

    Differences from the paper and its code: The code measures on the test set after every 5 or 10 batches and reports
    the best result; here nothing is selected, and the last biases are used. `updates=50` is the default of its program
    for CIFAR (5 iterations of 10 batches of 128); its script for CIFAR-100 runs 500 (100 of 5), the one for ImageNet
    100. Its iterations draw new batches from the full training set, with augmentation. V_th is that of `mmse` with the
    floor error over all calibration images; the code averages over seven batches. Linear layers have one threshold, as
    in the code. A step that was just corrected fires at V_th, like every other step; in the code only above V_th. The
    variants of the code are left out: largest activation and alpha = 0.005 for threshold-ReLU sources, start at
    V_th / 2 and alpha = 0.4 for QCFS sources, and one that compares means over time. Read: the code (in a copy of the
    authors' repository) and the abstract.
    """

    def start(activation):
        layer = stats[activation.name]
        v_th = mmse_threshold(layer, T, "floor", per_channel=layer.unit_max.dim() == 3)
        shift = v_th / (2 * T) - activation.shift
        return FTBCNeuron(v_th, shift * torch.ones(T, *layer.channel_mean.shape).to(v_th), alpha)

    calibrated = replace_activations(ann, start)
    neurons = {neuron.name: neuron for neuron in calibrated.children() if isinstance(neuron, FTBCNeuron)}
    run_steps, parts = stepwise(calibrated), images.split(batch)
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
    return replace_activations(ann, lambda a: TimeVaryingIF(neurons[a.name].v_th, shift=neurons[a.name].shift))


class FTBCNeuron(TimeVaryingIF):
    """A time-varying neuron that corrects the shift of every step, from all images of the batch, before it fires."""

    expected: Tensor  # (C, 1, 1) or (F,): mean activation of the current batch

    def __init__(self, v_th: Tensor, shift: Tensor, alpha: float):
        super().__init__(v_th, shift=shift)
        self.alpha = alpha

    def step(self, state: tuple[int, Tensor], current: Tensor) -> tuple[tuple[int, Tensor], Tensor]:
        t, m = state
        m = m + current
        m += self.shift[t]
        fired = torch.empty_like(m)  # comparing into floats is faster
        mean = channel_mean(torch.ge(m, self.v_th, out=fired))
        correction = self.alpha * (self.v_th * mean - self.expected)
        self.shift[t] -= correction
        m -= correction
        spikes = self.v_th * torch.ge(m, self.v_th, out=fired)
        m -= spikes
        return (t + 1, m), spikes
