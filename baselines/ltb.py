"""Local threshold balancing."""

from collections.abc import Callable

import torch
from torch import Tensor, fx

from ann2snn.methods import (
    IF,
    Count,
    ThresholdReLU,
    capture_activations,
    channel_mean,
    method,
    replace_activations,
    soft,
    threshold,
    track,
)


@method(paper="bu2025ltb")
def ltb(ann, stats, images, *, reset=soft, iterations: Count = 1000, batch: Count = 100, warmup=0):
    """Every activation a is cut at its channel's threshold, min(a, theta), and theta grows until cuts are rare:

        theta <- theta + 2 mean(max(0, a - theta)), from 0, over the images and places of one batch;  m(0) = theta / 2

    in all layers at once, so a layer hears what the earlier ones cut; the new theta already cuts the batch that it was
    computed on. Thresholds of linear layers differ from unit to unit. A channel that was never active takes the layer's
    largest theta. The rarest activations stay above theta: the error has a floor, however large T is.

    T. Bu, M. Li, Z. Yu, "Inference-Scale Complexity in ANN-SNN Conversion for High-Performance and Low-Power
    Applications", CVPR 2025. Its budget is 1,000 batches of 100 training images, about 100,000 different ones.

    Differences from the paper and its code (putshua/Inference-scale-ANN-SNN): batches are taken from the calibration
    images in turn, round and round, without augmentation (the code: a shuffled training set with crops, flips and
    colour jitter; its script's default is 4,000 iterations, and it runs two more than it is told); a is the source's
    own activation (there always a ReLU); a neuron fires at theta (the code: only above it); max-pools stay where they
    are (there they move before the neuron). The delayed evaluation reads from a step that depends on the network and
    on T; here `warmup` is that step, and by default everything is read. Read: the code; of the paper a summary.
    """
    theta: dict[str, Tensor] = {}

    def balance(activation, _, a):
        before = theta.get(activation.name, torch.zeros((), dtype=a.dtype, device=a.device))
        theta[activation.name] = before + 2 * channel_mean((a - before).clamp(min=0))
        return torch.minimum(a, theta[activation.name])

    run_with(balance, ann, images, iterations, batch)

    def neuron(activation):
        v_th = threshold(theta[activation.name], activation.name)
        return IF(v_th, reset, shift=-activation.shift, v_init=v_th / 2)

    return replace_activations(ann, neuron)


def run_with(
    act: Callable[[ThresholdReLU, Tensor, Tensor], Tensor],
    ann: fx.GraphModule,
    images: Tensor,
    iterations: int,
    batch: int,
    copies: int = 1,
) -> None:
    """Runs `ann` on batches of `images`, taken in turn, round and round, and `copies` times in each batch.

    Every activation passes on `act(activation, its input, its output)`.
    """
    like, size = next(ann.parameters()), min(batch, len(images))
    with capture_activations(ann, act), torch.inference_mode():
        for k in track(range(iterations), "calibration"):
            part = images[(torch.arange(size) + k * size) % len(images)].to(like)
            part = part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part
            ann(torch.cat([part] * copies))
