"""TODO"""

import re
from types import NoneType

from ann2snn.conform import ANY, check_names, conform, short_repr
from ann2snn.data.catalog import DATASETS
from ann2snn.records.job import PROTOCOL, Job
from ann2snn.records.packing import unpack

COUNTED = {"n": int, "correct": int}
PREDICTED = COUNTED | {"predictions": str}
SCHEMA = {
    "id": str,
    "job": {
        **dict.fromkeys(("dataset", "data_hash", "network", "activation", "recipe", "method"), str),
        **dict.fromkeys(("calibration_transform", "readout", "precision"), str),
        **dict.fromkeys(("method_version", "calibration", "calibration_seed", "protocol"), int),
        "seed": (int, NoneType),
        "options": {ANY: (bool, int, float, str, NoneType)},
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
    "source": {"weights_hash": str, "training_seconds": (float, NoneType)},
    "data": {"official": bool, "n": dict.fromkeys(("train", "validation", "calibration", "test"), int)},
    "provenance": {
        "commit": (str, NoneType),
        "dirty": (bool, NoneType),
        "versions": {"ann2snn": (str, NoneType), "torch": (str, NoneType), "python": str},
        **dict.fromkeys(("device", "cpu", "calibration_hash", "command", "date"), str),
        **dict.fromkeys(("threads", "batch"), int),
    },
}
LATER = {  # keys that the first records do not have
    "T": {ANY: {"latency": int, "conversion_seconds": float, "commit": (str, NoneType)}},
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


def _describe(record: dict) -> None:
    """Names, hashes and sizes are such as records have."""
    job, network, n = record["job"], record["network"], record["data"]["n"]
    check_names({name: job[name] for name in ("dataset", "network", "activation", "recipe", "method")})
    for part, name in HASHES:
        if not re.fullmatch("[0-9a-f]{64}", record[part][name]):
            raise ValueError(f"its {name} is {short_repr(record[part][name])}, not a SHA-256")
    if not ACTIVATION.fullmatch(job["activation"]):
        raise ValueError(f"its activation is {short_repr(job['activation'])}")
    if not job["method_version"] or not job["calibration"] or job["calibration"] != n["calibration"]:
        raise ValueError("its calibration images or the version of its method are not counted")
    if not (sum(network["macs"].values()) and network["macs"] and n["train"] and record["provenance"]["threads"]):
        raise ValueError("its multiply-accumulates, training images or threads are none")
    if unknown := sorted(set(network["analog"]) - network["macs"].keys()):
        raise ValueError(f"its layer {short_repr(unknown[0])} reads the image and has no multiply-accumulates")


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
            raise ValueError(f"{short_repr(T)} is not a T")
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
