"""What a valid record is. All that reads records relies on it: what passes here raises no error later."""

import math
import re

from ann2snn.facts import DATASETS
from ann2snn.records.job import PROTOCOL, Job
from ann2snn.records.packing import unpack

ANY = "*"
LARGEST = 2**63 - 1  # of an integer
MAYBE = type(None)
COUNTED = {"n": int, "correct": int}
PREDICTED = COUNTED | {"predictions": str}
SCHEMA = {
    "id": str,
    "job": {
        **dict.fromkeys(("dataset", "data_hash", "network", "activation", "recipe", "method"), str),
        **dict.fromkeys(("calibration_transform", "readout", "precision"), str),
        **dict.fromkeys(("method_version", "calibration", "calibration_seed", "protocol"), int),
        "seed": (int, MAYBE),
        "options": {ANY: (bool, int, float, str, MAYBE)},
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
    "network": {"parameters": int, "neurons": {ANY: int}, "macs": {ANY: int}, "analog": [str]},
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
LATER = {  # keys that the first records do not have
    "T": {ANY: {"latency": int, "conversion_seconds": float, "commit": (str, MAYBE)}},
    "source": {"trained_on": [str]},
    "provenance": {"engine": str, "method_code": str},
}
HASHES = (("job", "data_hash"), ("source", "weights_hash"))
ACTIVATION = re.compile(r"[A-Za-z_]\w*(:[^:]+)*")


def validate(record) -> None:
    """ValueError with the defect, unless `record` is whole and consistent."""
    conform(record, SCHEMA, "record", LATER)
    if record["job"]["protocol"] != PROTOCOL:
        raise ValueError(f"it follows protocol {record['job']['protocol']}, this is protocol {PROTOCOL}")
    try:
        job = Job(**record["job"])
    except TypeError:
        raise ValueError("its job has a field that jobs do not have") from None
    if record["id"] != job.id:
        raise ValueError(f"its id is {record['id']}, its job's is {job.id}")
    _describe(record)
    _count(record)


def conform(value, schema, where: str, later=None) -> None:
    """ValueError unless `value` has the keys and types of `schema`.

    Args:
        value: Anything that JSON can hold.
        schema: A type, a tuple of types, [the type of every element], or {key: schema}, where the key `ANY` stands for
            all keys. Further keys of `value` are fine. Numbers are finite and not negative.
        where: What `value` is called in the error.
        later: {key: schema} of keys that may be absent.
    """
    if isinstance(schema, dict):
        if type(value) is not dict:
            raise ValueError(f"{where} is not a mapping")
        later = later or {}
        for key in value if ANY in schema else schema:
            if key not in value:
                raise ValueError(f"{where} has no {key!r}")
            conform(value[key], schema.get(key, schema.get(ANY)), f"{where}[{key!r}]", later.get(key, later.get(ANY)))
        for key in (later.keys() & value.keys()) - schema.keys():
            conform(value[key], later[key], f"{where}[{key!r}]")
    elif isinstance(schema, list):
        if type(value) is not list:
            raise ValueError(f"{where} is not a list")
        for i, element in enumerate(value):
            conform(element, schema[0], f"{where}[{i}]")
    else:
        allowed = schema if isinstance(schema, tuple) else (schema,)
        names = " or ".join(t.__name__ for t in allowed)
        if float in allowed:
            allowed += (int,)
        if type(value) not in allowed:
            raise ValueError(f"{where} is {_short(value)}, not of type {names}")
        if type(value) is int and not 0 <= value <= LARGEST or type(value) is float and not 0 <= value < math.inf:
            raise ValueError(f"{where} is {_short(value)}")


def check_names(names: dict[str, str]) -> None:
    """ValueError for a name that cannot be a part of a path: none at all, or that of a folder above."""
    for what, name in names.items():
        if name in ("", ".", ".."):
            raise ValueError(f"its {what} is {name!r}")


def _short(value) -> str:
    """Its repr, cut to 40 characters."""
    if type(value) is int and abs(value) > LARGEST:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _describe(record: dict) -> None:
    """Names, hashes and sizes are such as records have."""
    job, network, n = record["job"], record["network"], record["data"]["n"]
    check_names({name: job[name] for name in ("dataset", "network", "activation", "recipe", "method")})
    for part, name in HASHES:
        if not re.fullmatch("[0-9a-f]{64}", record[part][name]):
            raise ValueError(f"its {name} is {_short(record[part][name])}, not a SHA-256")
    if not ACTIVATION.fullmatch(job["activation"]):
        raise ValueError(f"its activation is {_short(job['activation'])}")
    if not job["method_version"] or not job["calibration"] or job["calibration"] != n["calibration"]:
        raise ValueError("its calibration images or the version of its method are not counted")
    if not (sum(network["macs"].values()) and network["macs"] and n["train"] and record["provenance"]["threads"]):
        raise ValueError("its multiply-accumulates, training images or threads are none")
    if unknown := sorted(set(network["analog"]) - network["macs"].keys()):
        raise ValueError(f"its layer {_short(unknown[0])} reads the image and has no multiply-accumulates")


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
        if not re.fullmatch("[1-9][0-9]{0,4}", T):
            raise ValueError(f"{_short(T)} is not a T")
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
