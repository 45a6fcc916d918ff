"""Conversion methods, and the public interface that methods are built on.

A method is a function `f(ann, stats, ...)` with the decorator `@method(paper=...)`, in a file of `baselines/` or in a
plug-in. The names in `__all__` are stable. Other modules of the package may change.
"""

from ann2snn.calibration.hooks import capture_activations, channel_mean
from ann2snn.calibration.preactivations import Preactivations
from ann2snn.calibration.statistics import LayerStatistics, Statistics
from ann2snn.conversion.neurons import (
    IF,
    MultiStepNeuron,
    Neuron,
    StagedIF,
    TimeVaryingIF,
    hard,
    soft,
    zero_spike_train,
)
from ann2snn.conversion.surgery import replace_activations, spiking_output
from ann2snn.conversion.thresholds import UNREACHABLE, default_threshold, threshold
from ann2snn.conversion.time_steps import steps
from ann2snn.errors import UserError
from ann2snn.graph.network import activations, modules_by_node
from ann2snn.methods.convert import convert
from ann2snn.methods.options import Count, Positive, Quantile, Where
from ann2snn.methods.registry import Method, method
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.progress import track
from ann2snn.simulation.layers import integrate, spike_counts_of, spike_train_of
from ann2snn.simulation.layerwise import LayerTrace, layer_by_layer
from ann2snn.simulation.simulate import simulate, stepwise
from ann2snn.simulation.synapses import to_channels_last

__all__ = [
    "IF",
    "UNREACHABLE",
    "Count",
    "LayerStatistics",
    "LayerTrace",
    "Method",
    "MultiStepNeuron",
    "Neuron",
    "Positive",
    "Preactivations",
    "Quantile",
    "StagedIF",
    "Statistics",
    "ThresholdReLU",
    "TimeVaryingIF",
    "UserError",
    "Where",
    "activations",
    "capture_activations",
    "channel_mean",
    "convert",
    "default_threshold",
    "hard",
    "integrate",
    "layer_by_layer",
    "method",
    "modules_by_node",
    "replace_activations",
    "simulate",
    "soft",
    "spike_counts_of",
    "spike_train_of",
    "spiking_output",
    "steps",
    "stepwise",
    "threshold",
    "to_channels_last",
    "track",
    "zero_spike_train",
]
