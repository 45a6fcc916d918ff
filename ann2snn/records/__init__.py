"""Job: everything a result depends on. Record: what one job gave, one JSON file with its provenance."""

from ann2snn.files import write_atomic
from ann2snn.records.files import (
    load,
    load_all,
    load_whole,
    publish,
    save,
    weights_path,
)
from ann2snn.records.job import PROTOCOL, Job, label, recipe_name, slug
from ann2snn.records.machine import cpu_model, device_name, hardware, made_here, provenance
from ann2snn.records.notebook import Notebook, fingerprint
from ann2snn.records.packing import pack, unpack
from ann2snn.records.reading import DamagedFile, leave_out, load_or_put_aside, put_aside, read_bytes, read_json

__all__ = [
    "PROTOCOL",
    "DamagedFile",
    "Job",
    "Notebook",
    "cpu_model",
    "device_name",
    "fingerprint",
    "hardware",
    "label",
    "leave_out",
    "load",
    "load_all",
    "load_or_put_aside",
    "load_whole",
    "made_here",
    "pack",
    "provenance",
    "publish",
    "put_aside",
    "read_bytes",
    "read_json",
    "recipe_name",
    "save",
    "slug",
    "unpack",
    "weights_path",
    "write_atomic",
]
