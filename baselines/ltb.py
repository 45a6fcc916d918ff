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
    """Thresholds that grow until clipping is rare.

    Every activation a is clipped at a threshold per channel, theta, which grows until clipping is rare:

        theta <- theta + 2 mean(max(0, a - theta)), from 0, over the images and positions of a batch;  m(0) = theta / 2

    All layers are updated with every batch, so a layer receives what the layers before it have clipped. A batch is
    clipped with the theta that it has updated. Linear layers have a threshold per unit. A channel that was never active
    has the largest theta of the layer. The rarest activations stay above theta, so the error does not vanish for large
    T.

    T. Bu, M. Li, Z. Yu, "Inference-Scale Complexity in ANN-SNN Conversion for High-Performance and Low-Power
    Applications", CVPR 2025. It uses 1,000 batches of 100 training images, about 100,000 different ones.

    Differences from the paper and its code (putshua/Inference-scale-ANN-SNN): Batches are taken from the calibration
    images in order, repeatedly and without augmentation; the code shuffles a training set with crops, flips and colour
    jitter, its script's default is 4,000 iterations, and it runs two more than specified. a is the activation of the
    source; in the code always a ReLU. A neuron fires at theta; in the code only above it. Max-pools stay in place; in
    the code they move before the neuron. The delayed evaluation of the code reads from a step that depends on the
    network and T; here `warmup` is that step, and by default every step is read. Read: the code; of the paper a
    summary.
    """
    theta: dict[str, Tensor] = {}

    def balance(activation, _, a):
        before = theta.get(activation.name, torch.zeros((), dtype=a.dtype, device=a.device))
        theta[activation.name] = before + 2 * channel_mean((a - before).clamp(min=0))
        return torch.minimum(a, theta[activation.name])

    run_batches(balance, ann, images, iterations, batch)

    def neuron(activation):
        v_th = threshold(theta[activation.name], activation.name)
        return IF(v_th, reset, shift=-activation.shift, v_init=v_th / 2)

    return replace_activations(ann, neuron)


def run_batches(
    act: Callable[[ThresholdReLU, Tensor, Tensor], Tensor],
    ann: fx.GraphModule,
    images: Tensor,
    iterations: int,
    batch: int,
    copies: int = 1,
) -> None:
    """Run a network on calibration batches and replace the output of every activation.

    Args:
        act: `act(activation, input, output)` returns the new output.
        ann: The network.
        images: Calibration images (N, C, H, W); batches are taken from them in order, repeatedly.
        iterations: Number of batches.
        batch: Images in a batch.
        copies: How often every batch is repeated within one forward pass.
    """
    like, size = next(ann.parameters()), min(batch, len(images))
    with capture_activations(ann, act), torch.inference_mode():
        for k in track(range(iterations), "calibration"):
            part = images[(torch.arange(size) + k * size) % len(images)].to(like)
            part = part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part
            ann(torch.cat([part] * copies))
