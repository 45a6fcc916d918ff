"""Conversion methods, and all that a method builds on: import it from here.

A method is a function `f(ann, stats, ...)` with `@method(paper=...)`, in a file of `baselines/` or in a plug-in. These
names are stable; what the other modules of the suite hold may change.
"""

from ann2snn.calibration.hooks import capture_activations, channel_mean
from ann2snn.calibration.statistics import LayerStatistics, Statistics
from ann2snn.conversion.neurons import IF, Neuron, StagedIF, TimedIF, WholeTrain, hard, soft, trains_like
from ann2snn.conversion.surgery import replace_activations, spiking_output
from ann2snn.conversion.thresholds import UNREACHABLE, ceiling, threshold
from ann2snn.conversion.time_steps import steps
from ann2snn.errors import UserError
from ann2snn.graph.network import activations, modules_by_node
from ann2snn.methods.convert import convert
from ann2snn.methods.options import Count, Positive, Quantile, Where
from ann2snn.methods.registry import Method, method
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.progress import track
from ann2snn.simulation.layers import fired_by, heard_by
from ann2snn.simulation.layerwise import layer_by_layer
from ann2snn.simulation.simulate import simulate, stepwise
from ann2snn.simulation.synapses import in_order

__all__ = [
    "activations",
    "capture_activations",
    "ceiling",
    "channel_mean",
    "convert",
    "Count",
    "fired_by",
    "hard",
    "heard_by",
    "IF",
    "in_order",
    "layer_by_layer",
    "LayerStatistics",
    "Method",
    "method",
    "modules_by_node",
    "Neuron",
    "Positive",
    "Quantile",
    "replace_activations",
    "simulate",
    "soft",
    "spiking_output",
    "StagedIF",
    "Statistics",
    "steps",
    "stepwise",
    "threshold",
    "ThresholdReLU",
    "TimedIF",
    "track",
    "trains_like",
    "UNREACHABLE",
    "UserError",
    "Where",
    "WholeTrain",
]
