"""Job: everything a result depends on. Record: what one job gave, one JSON file with its provenance."""

from ann2snn.files import write_atomic
from ann2snn.records.files import load, load_all, publish, save, weights_path
from ann2snn.records.job import PROTOCOL, Job, recipe_name, slug
from ann2snn.records.machine import cpu_model, device_name, hardware, made_here, provenance
from ann2snn.records.notebook import Notebook, fingerprint
from ann2snn.records.packing import pack, unpack

__all__ = [
    "PROTOCOL",
    "Job",
    "Notebook",
    "cpu_model",
    "device_name",
    "fingerprint",
    "hardware",
    "load",
    "load_all",
    "made_here",
    "pack",
    "provenance",
    "publish",
    "recipe_name",
    "save",
    "slug",
    "unpack",
    "weights_path",
    "write_atomic",
]
