"""What a valid record is."""

import math
from pathlib import Path

from ann2snn.errors import UserError
from ann2snn.facts import DATASETS
from ann2snn.foreign_files import record_fix
from ann2snn.records.job import PROTOCOL, Job
from ann2snn.records.packing import unpack

ANY = "*"
COUNTED = {"n": int, "correct": int}
PREDICTED = COUNTED | {"predictions": str}
MAYBE = type(None)
SCHEMA = {
    "id": str,
    "job": {
        **dict.fromkeys(("dataset", "data_hash", "network", "activation", "recipe", "method"), str),
        **dict.fromkeys(("calibration_transform", "readout", "precision"), str),
        **dict.fromkeys(("method_version", "calibration", "calibration_seed", "protocol"), int),
        "seed": (int, MAYBE),
        "options": {ANY: object},
    },
    "labels": str,
    "ann": {"test": PREDICTED, "validation": COUNTED},
    "T": {
        ANY: {
            "test": PREDICTED | {"undecided": int},
            "validation": COUNTED | {"undecided": int},
            "spikes": {ANY: int},
            "operations": {ANY: int},
            "seconds": float,
        }
    },
    "network": {"parameters": int, "neurons": {ANY: int}, "macs": {ANY: int}},
    "source": {"weights_hash": str, "training_seconds": (float, MAYBE)},
    "data": {"official": bool, "n": dict.fromkeys(("train", "validation", "calibration", "test"), int)},
    "provenance": {
        "commit": (str, MAYBE),
        "dirty": (bool, MAYBE),
        "versions": {"ann2snn": (str, MAYBE), "torch": (str, MAYBE), "python": str},
        **dict.fromkeys(("device", "cpu", "calibration_hash", "command", "date"), str),
        **dict.fromkeys(("threads", "batch"), int),
    },
}


def validate(record, path: Path) -> None:
    """A UserError that names `path` and the defect, unless `record` is whole, consistent and in its place."""
    try:
        _conform(record, SCHEMA, "record")
        if record["job"]["protocol"] != PROTOCOL:
            raise ValueError(f"it follows protocol {record['job']['protocol']}, this is protocol {PROTOCOL}")
        try:
            job = Job(**record["job"])
        except TypeError:
            raise ValueError("its job has a field that jobs do not have") from None
        if record["id"] != job.id:
            raise ValueError(f"its id is {record['id']}, its job's is {job.id}")
        _count(record)
    except ValueError as error:
        raise UserError(f"{path} is not a valid record: {error}; {record_fix(path)}.") from None
    place = job.path("")
    if path.absolute().parts[-len(place.parts) :] != place.parts:
        raise UserError(f"{path} is not where its job belongs: move it to {place}, below any folder.")


def _conform(value, schema, where: str) -> None:
    """`value` has the keys and types of `schema`; more keys than those are fine."""
    if not isinstance(schema, dict):
        if schema is object:
            return
        allowed = schema if isinstance(schema, tuple) else (schema,)
        if float in allowed:
            allowed += (int,)
        if type(value) not in allowed:
            raise ValueError(f"{where} is {value!r}, not of type {' or '.join(t.__name__ for t in allowed)}")
        if type(value) in (int, float) and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{where} is {value!r}")
        return
    if type(value) is not dict:
        raise ValueError(f"{where} is not a mapping")
    for key in value if ANY in schema else schema:
        if key not in value:
            raise ValueError(f"{where} has no {key!r}")
        _conform(value[key], schema.get(key, schema.get(ANY)), f"{where}[{key!r}]")


def _count(record: dict) -> None:
    """Every count is of all images, and `correct` is what the predictions say."""
    labels, n = unpack(record["labels"]), record["data"]["n"]
    if not record["T"]:
        raise ValueError("it has no T")
    dataset = record["job"]["dataset"]
    read = dataset in DATASETS and dataset != "digits"  # these come with a library, whole
    whole = DATASETS[dataset].images[2] if read else n["test"]
    if record["data"]["official"] and n["test"] != whole:
        raise ValueError(f"it has {n['test']:,} test images of official data, which has {whole:,}")
    if record["job"]["seed"] is None and n["validation"]:
        raise ValueError("it has validation images, which imported weights have seen")
    for T in record["T"]:
        if not T.isdecimal() or T != str(int(T)) or T == "0":
            raise ValueError(f"{T!r} is not a T")
    if len(labels) != n["test"] or not n["test"]:
        raise ValueError(f"it has {len(labels)} labels for {n['test']} test images")
    for name, result in [("the ANN", record["ann"]), *((f"T = {T}", result) for T, result in record["T"].items())]:
        for split in ("test", "validation"):
            part = result[split]
            if part["n"] != n[split]:
                raise ValueError(f"{name} was measured on {part['n']} of {n[split]} {split} images")
            if max(part["correct"], part.get("undecided", 0)) > part["n"]:
                raise ValueError(f"{name} counts more than all {split} images")
        predictions = unpack(result["test"]["predictions"])
        if len(predictions) != len(labels):
            raise ValueError(f"{name} has {len(predictions)} predictions for {len(labels)} labels")
        if (right := int((predictions == labels).sum())) != result["test"]["correct"]:
            raise ValueError(f"{name} says {result['test']['correct']} correct, its predictions say {right}")
