"""Energy of an image by counts, in picojoule (Horowitz, ISSCC 2014: 45 nm, 0.9 V).

    E_ANN = mac x MACs
    E_SNN = mac x MACs of the layers that read the image + addition x operations + update x neurons x T

MACs on padding are not counted on either side. Synaptic operations are additions (`ann2snn.metrics`). Layers that read
the image are computed once. An update is the other work of a neuron at every step: its constant current (bias and
shift) is added, and its potential is compared with V_th by a subtraction.

Not counted for the ANN: biases, activations, pools, and zeros that hardware could skip. Not counted for the spiking
network: the subtraction of a reset, additions without a weight (shortcuts, the sum of the read-out, the comparisons of
a max-pool), and everything between spikes and neurons (routing, control, leakage). With a memory, these are counted for
neither: reads of constant currents, biases and thresholds, writes of activations, and the reuse of operands from
registers. Every spike before an average pool is multiplied by all weights after the pool; hardware that sums the
windows first needs fewer additions. Multi-step neurons (latency above T) process their potential twice, which is
counted once, and their other computations are not counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from torch import fx

from ann2snn.metrics.operations import costs, macs_of
from ann2snn.simulation.result import Result


@dataclass(frozen=True)
class Hardware:
    """Energies in picojoule: of a multiply-accumulate, of an addition for a spike, and of the update of a neuron."""

    name: str
    mac: float
    addition: float
    update: float

    @property
    def break_even(self) -> float:
        """Number of additions per multiply-accumulate below which spikes need less energy, without updates."""
        return self.mac / self.addition


def _hardware(name: str, multiply: str, add: str, byte: str = "0", held: bool = False) -> Hardware:
    """Energies of the three operations, including memory accesses at `byte` pJ per byte.

    A multiply-accumulate reads a weight and an activation of 8 bits each; its sum stays in a register. An addition for
    a spike reads a weight. The membrane potential of 32 bits is read and written by every addition and update; if it
    is `held` in a register during a step, only by the update.
    """
    m, a, b = Fraction(multiply), Fraction(add), Fraction(byte)
    return Hardware(name, float(m + a + 2 * b), float(a + b + (0 if held else 8 * b)), float(2 * a + 8 * b))


FLOAT32 = _hardware("float32", multiply="3.7", add="0.9")
INT8 = _hardware("int8", multiply="0.2", add="0.1")  # sums of 32 bits
# a memory of 8 kB: 10 pJ for 64 bits
REGISTER = _hardware("int8, memory, potential held", multiply="0.2", add="0.1", byte="1.25", held=True)
MEMORY = _hardware("int8, memory", multiply="0.2", add="0.1", byte="1.25")
ALL = (FLOAT32, INT8, REGISTER, MEMORY)


@dataclass(frozen=True)
class Counts:
    """Counts for one image and T steps. Operations are a mean over the simulated images."""

    T: int
    macs: int  # MACs of the ANN, without those on padding
    held: int  # the part of them in layers that read the image
    neurons: int
    operations: float  # synaptic operations

    @property
    def per_mac(self) -> float | None:
        """Operations per multiply-accumulate of the layers that they replace; None if there are no such layers."""
        return self.operations / (self.macs - self.held) if self.macs > self.held else None

    def ann(self, hardware: Hardware) -> float:
        """Picojoule of the ANN."""
        return hardware.mac * self.macs

    def snn(self, hardware: Hardware) -> float:
        """Picojoule of the spiking network."""
        spikes = hardware.addition * self.operations
        return hardware.mac * self.held + spikes + hardware.update * self.neurons * self.T


def of_record(record: dict, T: int) -> Counts:
    """Counts of a record on its test images.

    If the network of the record cannot be built, MACs on padding are included.

    Args:
        record: The record.
        T: One of its numbers of steps.
    """
    network, images = record["network"], record["data"]["n"]["test"]
    layers = macs_of(record["job"]["dataset"], record["job"]["network"]) or {}
    macs = network["macs"]
    if layers.keys() >= macs.keys():
        macs = {name: layers[name][1] for name in macs}
    return _counts(T, macs, network["analog"], network["neurons"], record["T"][str(T)]["operations"], images)


def of_result(ann: fx.GraphModule, result: Result, T: int) -> Counts:
    """Counts of a simulation.

    Args:
        ann: The prepared network that was converted.
        result: The result of `simulate`.
        T: A number of steps at which it was read.

    Raises:
        UserError: The result was not read at T.
    """
    images, counted = len(result.predictions(T)), costs(ann)
    operations = counted.operations(result.events[T])
    return _counts(T, counted.macs_without_padding, counted.analog, counted.neurons, operations, images)


def _counts(T: int, macs: dict, analog: Iterable[str], neurons: dict, operations: dict, images: int) -> Counts:
    held = sum(macs[layer] for layer in analog)
    return Counts(T, sum(macs.values()), held, sum(neurons.values()), sum(operations.values()) / images)
