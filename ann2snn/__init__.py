"""Convert trained networks to spiking ones, and measure what that costs.

ann = ann2snn.prepare(net, images)
snn = ann2snn.convert(ann, "optimal", calibration_images, T=16)
result = ann2snn.simulate(snn, images)
"""

from pathlib import Path

__version__ = "0.2.0"

if (Path(__file__).parents[1] / "baselines").is_dir():  # a checkout that is not installed: its methods lie beside it
    __path__.append(str(Path(__file__).parents[1]))

_PLACES = {
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
    "energy": "metrics.energy",
    "UserError": "errors",
}
__all__ = list(_PLACES)


def __getattr__(name: str):
    """Loads torch with the first name that needs it, so that the command line starts at once."""
    if name in _PLACES:
        from importlib import import_module

        place = import_module(f"ann2snn.{_PLACES[name]}")
        return place if _PLACES[name].endswith(f".{name}") and name not in vars(place) else getattr(place, name)
    raise AttributeError(f"module 'ann2snn' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, none of which is loaded before it is used."""
    return sorted([*__all__, "__version__"])
