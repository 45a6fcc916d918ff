"""Neurons that hear all T steps before they fire, with and without a calibration."""

import torch
from torch import Tensor

from ann2snn.baselines.ltb import run_with  # type: ignore
from ann2snn.methods import (
    Count,
    WholeTrain,
    activations,
    ceiling,
    channel_mean,
    heard_by,
    method,
    replace_activations,
    trains_like,
)


class AccumulateThenFire(WholeTrain):
    """clip(floor((v_init + all currents) / v_th), 0, T) spikes, one in each of the first steps:

        s_x = amplitude [ (T/x) mean current + v_init/x >= v_th ],   x = 1..T

    With v_init = v_th / 2 the mean output is the mean input, rounded to T levels, whatever the timing of the input.
    """

    amplitude: Tensor

    def __init__(self, v_th: Tensor, shift: float, v_init: Tensor, amplitude: Tensor | None = None):
        """Spikes have the size `amplitude`, by default `v_th`."""
        super().__init__(v_th, shift, v_init)
        self.register_buffer("amplitude", self.v_th if amplitude is None else amplitude)

    @property
    def worth(self) -> Tensor:
        return self.amplitude

    def fired(self, currents: Tensor) -> Tensor:
        m = heard_by(self, currents)
        fired, spikes = trains_like(m, len(currents)), torch.empty_like(m)  # compared as floats, which is faster
        for x, step in enumerate(fired, start=1):
            step.copy_(torch.ge(m, x * self.v_th, out=spikes))
        return fired


@method(paper="hao2025parallel", source_activation="qcfs")
def accumulate_then_fire(ann, stats, T, *, per_channel=True):
    """Every layer hears its T steps, then fires as often as the mean z of its currents says, rounded to T levels:

        s_x = V [ (T/x) z + m(0)/x >= V ], x = 1..T;   m(0) = V/2;   mean output = (V/T) clip(floor(z T/V + 1/2), 0, T)

    So the spiking network equals the quantised one with T levels, unit for unit; every layer costs T steps of latency.
    V is the trained threshold of a source that has one, and else the largest activation, of a channel or of the layer.

    Z. Hao, Q. Ma, K. Chen, Y. Zhang, Z. Yu, T. Huang, "Faster and Stronger: When ANN-SNN Conversion Meets Parallel
    Spiking Calculation", ICML 2025 (arXiv 2412.13610), its parallel conversion.

    Differences from the paper and its code: the code converts QCFS networks so, others only with `da_qcfs`; it compares
    T/x times the mean with V, here the sum is compared with x V. Read: a copy of the code (bjourne/hao_s2025), not the
    paper.
    """

    def neuron(activation):
        v_th = ceiling(activation, stats, per_channel)
        return AccumulateThenFire(v_th, -activation.shift, v_th / 2)

    return replace_activations(ann, neuron)


@method(paper="hao2025parallel")
def da_qcfs(ann, stats, T, images, *, iterations: Count = 500, batch: Count = 100):
    """`accumulate_then_fire` with thresholds per channel, its start and the size of its spikes calibrated (DA-QCFS):

        z, a of the network;   q = clip(floor((z' + r) T/V + 1/2), 0, T) (V + s) / T of its quantised copy, input z'
        r <- .99 r + .01 mean(z - z'), used at once;   then s <- .99 s + .01 mean(a - q);   both from 0, per channel

    over the images and places of one batch after the other, in all layers at once. The neuron then starts at V/2 + T r
    and fires at V spikes of the size V + s, which is never below V/2.

    The same paper as `accumulate_then_fire` (2025), its training-free conversion. Its budget is one pass over the
    training set: the default, 500 batches of 100, is CIFAR's 50,000 images.

    Differences from the paper and its code: batches are taken from the calibration images in turn, round and round,
    without augmentation; V comes from the same images (the code: from another, augmented pass, so that a is cut at V);
    a channel that was never active has the layer's largest V (the code divides by 0); layers of linear weights are
    calibrated too (the code: in its VGG only convolutions); a is the source's own activation, with the L of its
    training where that is QCFS (the code: as fixed in its file). Read: a copy of the code (bjourne/hao_s2025), not
    the paper.
    """
    v = {name: ceiling(activation, stats, per_channel=True) for name, activation in activations(ann).items()}
    r, s = ({name: torch.zeros_like(value) for name, value in v.items()} for _ in range(2))

    def calibrate(activation, both, a):
        name, (z, quantised), a = activation.name, both.chunk(2), a.chunk(2)[0]
        r[name] = 0.99 * r[name] + 0.01 * channel_mean(z - quantised)
        levels = ((quantised - activation.shift + r[name]) * T / v[name] + 0.5).floor().clamp(0, T)
        q = levels * (v[name] + s[name]) / T
        s[name] = 0.99 * s[name] + 0.01 * channel_mean(a - q)
        return torch.cat([a, q])

    run_with(calibrate, ann, images, iterations, batch, copies=2)

    def neuron(activation):
        name = activation.name
        return AccumulateThenFire(v[name], -activation.shift, v[name] / 2 + T * r[name], v[name] + s[name])

    return replace_activations(ann, neuron)
