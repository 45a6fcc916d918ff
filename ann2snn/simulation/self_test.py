"""Self-test of the compiled `layer.c`: a small convolution with its neurons, compared with PyTorch."""

import ctypes

import torch
import torch.nn.functional as F
from torch import nn

from ann2snn.simulation import c_call
from ann2snn.simulation.spikes import Spikes
from ann2snn.simulation.synapses import Synapses, to_channels_last


def passes(library: ctypes.CDLL, counts_spikes: bool = True) -> bool:
    """Whether spikes, counts and membranes of three steps on two images equal PyTorch's, for two kernels and resets.

    The numbers are exact in single precision. The test does not depend on the caller's settings, such as a default
    dtype or autocast, and does not change the random state.

    Args:
        library: The compiled library.
        counts_spikes: False for a library that was compiled with NOT_COUNTING.
    """
    with torch.no_grad(), torch.device("cpu"):
        return all(_equal(library, counts_spikes, kernel, hard) for kernel in (3, 2) for hard in (False, True))


def _equal(library: ctypes.CDLL, counts_spikes: bool, kernel: int, hard: bool) -> bool:
    steps, batch, channels = 3, 2, 20
    weight = (torch.arange(channels * 3 * kernel**2) % 11 - 4).view(channels, 3, kernel, kernel).double() / 8
    bias, shift = (torch.arange(channels) % 5 - 2).double() / 16, 0.0625
    spikes = (torch.arange(steps * batch * 3 * 5 * 6) % 7 < 4).view(steps * batch, 3, 5, 6)
    with torch.random.fork_rng([]):
        layer = nn.Conv2d(3, channels, kernel, padding=1, dtype=torch.float32)
    layer.load_state_dict({"weight": weight, "bias": bias})
    ones = torch.ones(channels, dtype=torch.float32)
    synapses, x = Synapses(layer, ones[:3]), Spikes(spikes.to(torch.uint8), ones[:1])
    shapes = {"membrane": (batch, torch.float32), "counts": (batch, torch.int16), "out": (steps * batch, torch.uint8)}
    state = {name: torch.zeros(n, *synapses.shape(x.shape)[1:], dtype=dtype) for name, (n, dtype) in shapes.items()}
    state = {name: to_channels_last(value) for name, value in state.items()}
    neurons = {"v_th": ones, "shift": shift * ones, "hard": hard, **state}
    c_call.call(library, steps=steps, images=batch, **synapses.arguments(x), **neurons)
    m, fired = torch.zeros((), dtype=torch.double), []
    for x in spikes.double().split(batch):
        m = m + F.conv2d(x, weight, bias, padding=1) + shift
        fired.append(m >= 1)
        m = torch.where(fired[-1], 0 if hard else m - 1, m)
    expected = {"membrane": m, "out": torch.cat(fired)}
    if counts_spikes:
        expected["counts"] = torch.stack(fired).sum(0)
    return all(torch.equal(state[name].double(), value.double()) for name, value in expected.items())
