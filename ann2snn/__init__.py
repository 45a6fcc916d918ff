"""Convert trained networks to spiking ones, and measure what the conversion costs.

ann = ann2snn.prepare(net, images)
snn = ann2snn.convert(ann, "optimal", calibration_images, T=16)
result = ann2snn.simulate(snn, images)
"""

from importlib import import_module
from pathlib import Path

__version__ = "0.2.0"

_CHECKOUT = Path(__file__).parents[1]
if (_CHECKOUT / "baselines").is_dir():  # a checkout that is not installed: `ann2snn.baselines` is beside the package
    __path__.append(str(_CHECKOUT))

# The public API: each name and the module that defines it. Modules load on first use, as most of them import torch,
# so that the command line starts at once.
_MODULES = {
    "prepare": "graph.prepare",
    "convert": "methods.convert",
    "method": "methods.registry",
    "replace_activations": "conversion.surgery",
    "threshold": "conversion.thresholds",
    "Statistics": "calibration.statistics",
    "simulate": "simulation.simulate",
    "IF": "conversion.neurons",
    "soft": "conversion.neurons",
    "hard": "conversion.neurons",
    "ThresholdReLU": "networks.activations",
    "UserError": "errors",
}
_SUBMODULES = {"energy": "metrics.energy"}  # public names that are modules
__all__ = [*_MODULES, *_SUBMODULES]


def __getattr__(name: str):
    """Loads a public name on first use (PEP 562)."""
    if name in _SUBMODULES:
        return import_module(f"ann2snn.{_SUBMODULES[name]}")
    if name in _MODULES:
        return getattr(import_module(f"ann2snn.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'ann2snn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
