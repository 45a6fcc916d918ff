"""Energy of an image by counts, in picojoule (Horowitz, ISSCC 2014: 45 nm, 0.9 V).

    E_ANN = mac x MACs
    E_SNN = mac x MACs of the layers that read the image + addition x operations + update x neurons x T

Synaptic operations are additions (`ann2snn.metrics`). The layers that read the image are computed once and held.
An update is what every neuron does at every step besides: its constant current (bias and shift) is added, and its
potential compared with V_th, which is a subtraction. Not counted: control, routing of spikes, leakage, and the zeros
that hardware for the ANN could skip as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from torch import fx

from ann2snn.metrics import costs
from ann2snn.simulation import Result


@dataclass(frozen=True)
class Hardware:
    """Picojoule of a multiply-accumulate, of an addition for a spike, and of the update of a neuron."""

    name: str
    mac: Fraction
    addition: Fraction
    update: Fraction

    @property
    def break_even(self) -> Fraction:
        """The additions for each multiply-accumulate below which spikes cost less, all else left out."""
        return self.mac / self.addition


def _hardware(name: str, multiply: str, add: str, byte: str = "0") -> Hardware:
    """With a memory, a multiply-accumulate reads a weight and an activation of 8 bits (its sum stays in a register), an
    addition for a spike reads a weight and reads and writes a potential of 32 bits, and so does an update, without the
    weight."""
    m, a, b = Fraction(multiply), Fraction(add), Fraction(byte)
    return Hardware(name, m + a + 2 * b, a + 9 * b, 2 * a + 8 * b)


FLOAT32 = _hardware("float32", multiply="3.7", add="0.9")
INT8 = _hardware("int8", multiply="0.2", add="0.1")  # sums of 32 bits
MEMORY = _hardware("int8, 8 kB memory", multiply="0.2", add="0.1", byte="1.25")  # 10 pJ for 64 bits
ALL = (FLOAT32, INT8, MEMORY)


@dataclass(frozen=True)
class Counts:
    """Of one image, in the mean over those that were simulated, and T steps."""

    T: int
    macs: int
    held: int  # MACs of the layers that read the image
    neurons: int
    operations: Fraction  # synaptic

    def ann(self, hardware: Hardware) -> Fraction:
        """Picojoule of the ANN."""
        return hardware.mac * self.macs

    def snn(self, hardware: Hardware) -> Fraction:
        """Picojoule of the spiking network."""
        spikes = hardware.addition * self.operations
        return hardware.mac * self.held + spikes + hardware.update * self.neurons * self.T


def of_record(record: dict, T: int) -> Counts:
    """Of the test images of a record, at one of its T."""
    network, images = record["network"], record["data"]["n"]["test"]
    return _counts(T, network["macs"], network["analog"], network["neurons"], record["T"][str(T)]["operations"], images)


def of_result(ann: fx.GraphModule, result: Result, T: int) -> Counts:
    """Of a simulation of what `prepare` returned and `convert` converted, at one of the steps that it was read."""
    price = costs(ann)
    operations = price.operations(result.events[T])
    return _counts(T, price.macs, price.analog, price.neurons, operations, len(result.mean(T)))


def _counts(T: int, macs: dict, analog: Iterable[str], neurons: dict, operations: dict, images: int) -> Counts:
    held = sum(macs[layer] for layer in analog)
    return Counts(T, sum(macs.values()), held, sum(neurons.values()), Fraction(sum(operations.values()), images))
