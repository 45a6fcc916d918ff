"""Calibration is bounded in memory: under 2 GiB beyond the network, on the paper's VGG-16 and a large MobileNet."""

import subprocess
import sys

import pytest

from ann2snn.methods import closed_loop

STATUS = """
def peak():
    with open("/proc/self/status") as file:  # of this program; getrusage has what the one before it took, too
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
"""

PEAK = (
    STATUS
    + """
import resource, sys
import torch
from ann2snn.networks import registry as networks
from ann2snn.calibration.statistics import Statistics
from ann2snn.methods.registry import find
from ann2snn.graph.prepare import prepare

torch.set_num_threads(1)
torch.manual_seed(0)
network, size = sys.argv[5], int(sys.argv[6])
ann = prepare(networks.create(network, num_classes=10, in_chans=3).eval(), torch.zeros(1, 3, size, size))
images = torch.randn(int(sys.argv[1]), 3, size, size)
stats = Statistics(ann, lambda: images.split(500))
with open("/proc/self/statm") as file:
    before = int(file.read().split()[1]) * resource.getpagesize()
name, T, options = sys.argv[2], int(sys.argv[3]), eval(sys.argv[4])
find(name)(ann, stats, T, **options)
print(peak() - before)
"""
)


TRAINS = (
    STATUS
    + """
import torch
from torch import nn
from ann2snn.conversion.neurons import IF
from ann2snn.conversion.surgery import replace_activations
from ann2snn.graph.prepare import prepare
from ann2snn.simulation import layerwise

torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1), nn.ReLU(), nn.Flatten())
images = torch.rand(128, 3, 32, 32)
snn = replace_activations(prepare(net, images[:1]), lambda activation: IF(0.5))
layerwise.layer_by_layer(snn, images, 8, lambda neuron, train: None)
before = peak()
layerwise.layer_by_layer(snn, images, 400, lambda neuron, train: None)
print(peak() - before)
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="its C library is the one that left holes")
def test_trains_take_a_bit_for_each_spike_that_could_be():
    """128 images x 400 steps x 16,384 units: 105 MB as bits, 839 MB as bytes."""
    ran = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, check=True)
    assert 128 * 400 * 16384 / 8 < int(ran.stdout) < 2 * 128 * 400 * 16384 / 8


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "name, images, T, options",
    [
        # histograms: two layers of 4,096 units with 16,385 bins each; then the trains of all images, as bits:
        # with 1,024 images and T = 32 the largest layer's take 268 MB, and two of them are kept
        ("snnc_lp", 64, 8, {}),
        ("da_qcfs", 200, 1, {"iterations": 1}),  # two copies of a batch
    ],
)
def test_peak(name, images, T, options):
    """With few images, less what many would add: the layerwise."""
    assert 2**26 < peak(name, images, T, options) < 2**31 - 2 * 268e6


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "network, size, largest, images", [("deng_vgg16", 32, 2**16, 4), ("mobilenetv1_100", 224, 64 * 112**2, 2)]
)
def test_peak_of_closed_loop(network, size, largest, images):
    """With few images, less what the others up to its cap would add: eight numbers per unit of the largest layer."""
    others = closed_loop.VALUES // largest - images
    assert others > 0
    found = peak("closed_loop", images, 1, {}, network, size)
    assert found < 2**31 - others * largest * 8 * 4


def peak(name, images, T, options, network="deng_vgg16", size=32):
    """Bytes that a calibration takes at most beyond what was taken before it."""
    command = [sys.executable, "-c", PEAK, str(images), name, str(T), repr(options), network, str(size)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
