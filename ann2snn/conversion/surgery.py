"""Replaces activations by neurons."""

import copy
import sys
from collections.abc import Callable

from torch import Tensor, fx, nn

from ann2snn.conversion.neurons import Neuron, SilentIF
from ann2snn.conversion.thresholds import UNREACHABLE
from ann2snn.graph.network import Network, activations
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.progress import track


def replace_activations(ann: fx.GraphModule, neuron: Callable[[ThresholdReLU], Neuron]) -> Network:
    """A copy of `ann`, weights included, with `neuron(activation)` in the place of every activation call."""
    copied = copy.deepcopy(ann)
    snn = Network(copied, copied.graph)
    snn.meta |= copied.meta
    names = activations(ann)
    for node in track(snn.graph.nodes, "thresholds"):
        if node.op == "call_module" and isinstance(activation := snn.get_submodule(node.target), ThresholdReLU):
            module = neuron(activation).to(next(ann.parameters()))
            module.name = activation.name
            setattr(snn, node.target, module)
    assert len(names) == sum(isinstance(m, Neuron) and m.name in names for m in snn.children())
    return snn.eval()


def spiking_output(snn: fx.GraphModule, neuron: nn.Module) -> None:
    """Puts a neuron, named `output`, behind the last layer: what is read are its spikes instead of the currents."""
    (last,) = (node for node in snn.graph.nodes if node.op == "output")
    neuron.name = "output"  # type: ignore
    snn.add_module("spiking_output", neuron.to(next(snn.parameters())))
    with snn.graph.inserting_before(last):
        spikes = snn.graph.call_module("spiking_output", last.args)
    last.args = (spikes,)
    snn.recompile()


def silence(snn: fx.GraphModule) -> None:
    """Puts neurons that never fire into the layers whose thresholds are UNREACHABLE, with a line on stderr for each."""
    for place, module in snn.named_children():
        v_th = getattr(module, "v_th", None)
        if isinstance(module, Neuron) and isinstance(v_th, Tensor) and (v_th > UNREACHABLE / 2**20).all():
            silent = SilentIF().to(v_th)
            silent.name = module.name
            setattr(snn, place, silent)
            print(
                f"ann2snn: {module.name} was never active on the calibration images: its neurons never fire.",
                file=sys.stderr,
            )
