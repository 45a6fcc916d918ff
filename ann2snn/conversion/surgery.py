"""Replacement of activations by neurons."""

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
    """Copy a network and replace all its activations by spiking neurons.

    Args:
        ann: A prepared network. It is not changed.
        neuron: Returns the neurons for an activation. It is called once for each activation, in forward order.

    Returns:
        The spiking network, with copies of the weights.
    """
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
    """Append a neuron named `output` to the last layer, so that the read-out counts spikes instead of currents."""
    (last,) = (node for node in snn.graph.nodes if node.op == "output")
    neuron.name = "output"  # type: ignore
    snn.add_module("spiking_output", neuron.to(next(snn.parameters())))
    with snn.graph.inserting_before(last):
        spikes = snn.graph.call_module("spiking_output", last.args)
    last.args = (spikes,)
    snn.recompile()


def silence(snn: fx.GraphModule) -> None:
    """Replace the neurons of layers with unreachable thresholds by silent ones, and name each layer on stderr."""
    for target, module in snn.named_children():
        v_th = getattr(module, "v_th", None)
        if isinstance(module, Neuron) and isinstance(v_th, Tensor) and (v_th > UNREACHABLE / 2**20).all():
            silent = SilentIF().to(v_th)
            silent.name = module.name
            setattr(snn, target, silent)
            print(
                f"ann2snn: {module.name} was never active on the calibration images: its neurons never fire.",
                file=sys.stderr,
            )
