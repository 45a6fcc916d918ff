"""Neurons that receive all T steps before they fire, with and without calibration."""

import torch
from torch import Tensor

from ann2snn.baselines.ltb import run_batches  # type: ignore
from ann2snn.methods import (
    Count,
    MultiStepNeuron,
    activations,
    channel_mean,
    default_threshold,
    integrate,
    method,
    replace_activations,
    zero_spike_train,
)


class AccumulateThenFire(MultiStepNeuron):
    """clip(floor((v_init + sum of currents) / v_th), 0, T) spikes, one in each of the first steps:

        s_x = amplitude [ (T/x) mean current + v_init/x >= v_th ],   x = 1..T

    With v_init = v_th / 2, the mean output is the mean input rounded to T levels. It does not depend on the timing of
    the input.
    """

    amplitude: Tensor

    def __init__(self, v_th: Tensor, shift: float, v_init: Tensor, amplitude: Tensor | None = None):
        """`amplitude` is that of a spike, by default `v_th`."""
        super().__init__(v_th, shift, v_init)
        self.register_buffer("amplitude", self.v_th if amplitude is None else amplitude)

    @property
    def spike_amplitude(self) -> Tensor:
        return self.amplitude

    def spike_train(self, currents: Tensor) -> Tensor:
        m = integrate(self, currents)
        fired, spikes = zero_spike_train(m, len(currents)), torch.empty_like(m)  # comparing into floats is faster
        for x, step in enumerate(fired, start=1):
            step.copy_(torch.ge(m, x * self.v_th, out=spikes))
        return fired


@method(paper="hao2025parallel", source_activation="qcfs")
def accumulate_then_fire(ann, stats, T, *, per_channel=True):
    """Neurons that fire after all T steps.

    Every layer receives T steps and then fires by the mean z of its currents, rounded to T levels:

        s_x = V [ (T/x) z + m(0)/x >= V ], x = 1..T;   m(0) = V/2;   mean output = (V/T) clip(floor(z T/V + 1/2), 0, T)

    So the spiking network equals the ANN quantised to T levels, unit by unit. Every layer adds T steps of latency. V is
    the trained threshold of a source that has one, and otherwise the largest activation of the channel or the layer.

    Z. Hao, Q. Ma, K. Chen, Y. Zhang, Z. Yu, T. Huang, "Faster and Stronger: When ANN-SNN Conversion Meets Parallel
    Spiking Calculation", ICML 2025 (arXiv 2412.13610), the parallel conversion.

    Differences from the paper and its code: The code converts only QCFS networks in this way, and other networks with
    `da_qcfs`. The code compares T/x times the mean with V; this function compares the sum with x V. Read: a copy of the
    code (bjourne/hao_s2025), not the paper.
    """

    def neuron(activation):
        v_th = default_threshold(activation, stats, per_channel)
        return AccumulateThenFire(v_th, -activation.shift, v_th / 2)

    return replace_activations(ann, neuron)


@method(paper="hao2025parallel")
def da_qcfs(ann, stats, T, images, *, iterations: Count = 500, batch: Count = 100):
    """Calibrated `accumulate_then_fire`.

    `accumulate_then_fire` with calibrated start potentials and spike amplitudes, per channel (DA-QCFS):

        z, a of the network;   q = clip(floor((z' + r) T/V + 1/2), 0, T) (V + s) / T of its quantised copy, input z'
        r <- .99 r + .01 mean(z - z'), used at once;   then s <- .99 s + .01 mean(a - q);   both from 0, per channel

    Means are over the images and positions of a batch. All layers are updated with every batch. A neuron then starts at
    V/2 + T r and fires at V. Its spikes have the amplitude V + s, which is never below V/2.

    The training-free conversion of the same paper as `accumulate_then_fire` (2025). The paper uses one pass over the
    training set. The default, 500 batches of 100, is that of CIFAR's 50,000 images.

    Differences from the paper and its code: Batches are taken from the calibration images in order, repeatedly and
    without augmentation. V comes from the same images; in the code it comes from a separate, augmented pass, so that a
    is clipped at V. A channel that was never active has the largest V of the layer; the code divides by 0. Linear
    layers are calibrated too; the code calibrates only convolutions in its VGG. a is the activation of the source, with
    the L of its training if that is QCFS; the code uses the L fixed in its file. Read: a copy of the code
    (bjourne/hao_s2025), not the paper.
    """
    v = {name: default_threshold(activation, stats, per_channel=True) for name, activation in activations(ann).items()}
    r, s = ({name: torch.zeros_like(value) for name, value in v.items()} for _ in range(2))

    def calibrate(activation, currents, activations):
        name, a = activation.name, activations.chunk(2)[0]
        z, quantised = currents.chunk(2)
        r[name] = 0.99 * r[name] + 0.01 * channel_mean(z - quantised)
        levels = ((quantised - activation.shift + r[name]) * T / v[name] + 0.5).floor().clamp(0, T)
        q = levels * (v[name] + s[name]) / T
        s[name] = 0.99 * s[name] + 0.01 * channel_mean(a - q)
        return torch.cat([a, q])

    run_batches(calibrate, ann, images, iterations, batch, copies=2)

    def neuron(activation):
        name = activation.name
        return AccumulateThenFire(v[name], -activation.shift, v[name] / 2 + T * r[name], v[name] + s[name])

    return replace_activations(ann, neuron)
