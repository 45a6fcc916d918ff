"""Whether a compiled `layer.c` computes what PyTorch does: a small convolution and its neurons, in exact numbers."""

import torch
import torch.nn.functional as F
from torch import nn

from ann2snn.simulation import c_call
from ann2snn.simulation.spikes import Spikes
from ann2snn.simulation.synapses import Synapses, in_order


def passes(library) -> bool:
    """Whether spikes, counts and membranes of three steps on two images are equal, for two kernels and both resets.

    Nothing depends on the caller's settings, such as a default dtype or autocast, nor changes its random state.
    """
    with torch.no_grad(), torch.device("cpu"):
        return all(_equal(library, kernel, hard) for kernel in (3, 2) for hard in (False, True))


def _equal(library, kernel: int, hard: bool) -> bool:
    steps, batch, channels = 3, 2, 20
    weight = (torch.arange(channels * 3 * kernel**2) % 11 - 4).view(channels, 3, kernel, kernel).double() / 8
    bias, shift = (torch.arange(channels) % 5 - 2).double() / 16, 0.0625
    spikes = (torch.arange(steps * batch * 3 * 5 * 6) % 7 < 4).view(steps * batch, 3, 5, 6)
    with torch.random.fork_rng([]):
        layer = nn.Conv2d(3, channels, kernel, padding=1, dtype=torch.float32)
    layer.load_state_dict({"weight": weight, "bias": bias})
    one = torch.ones(channels, dtype=torch.float32)
    synapses, x = Synapses(layer, one[:3]), Spikes(spikes.to(torch.uint8), one[:1])
    shapes = {"membrane": (batch, torch.float32), "counts": (batch, torch.int16), "out": (steps * batch, torch.uint8)}
    state = {name: torch.zeros(n, *synapses.shape(x.shape)[1:], dtype=dtype) for name, (n, dtype) in shapes.items()}
    state = {name: in_order(value) for name, value in state.items()}
    neurons = {"v_th": one, "shift": shift * one, "hard": hard, **state}
    c_call.call(library, steps=steps, images=batch, **synapses.of_input(x), **neurons)
    m, fired = torch.zeros((), dtype=torch.double), []
    for x in spikes.double().split(batch):
        m = m + F.conv2d(x, weight, bias, padding=1) + shift  # exact in single precision too
        fired.append(m >= 1)
        m = torch.where(fired[-1], 0 if hard else m - 1, m)
    expected = {"membrane": m, "counts": torch.stack(fired).sum(0), "out": torch.cat(fired)}
    return all(torch.equal(state[name].double(), value.double()) for name, value in expected.items())
