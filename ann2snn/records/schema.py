"""The fields of a record, and the checks that a valid record passes.

`Record` states the type and meaning of every field. `SCHEMA`, which files are checked against, is derived from it.
"""

import re
from typing import Any, NotRequired, TypedDict, cast

from ann2snn.conform import check_names, conform, schema_of, short_repr
from ann2snn.data.catalog import DATASETS
from ann2snn.records.job import PROTOCOL, Job
from ann2snn.records.packing import unpack


class JobFields(TypedDict):
    """The fields of a `Job`."""

    dataset: str
    data_hash: str  # SHA-256 (hex)
    network: str
    activation: str  # activation spec
    recipe: str  # key of the recipe
    seed: int | None  # of the training; None for imported weights
    method: str
    method_version: int
    options: dict[str, bool | int | float | str | None]  # of the method
    calibration: int  # number of images
    calibration_seed: int
    calibration_transform: str
    readout: str
    precision: str
    protocol: int


class Counts(TypedDict):
    """Accuracy of the ANN on one split."""

    n: int  # images
    correct: int  # correctly classified images


class Predictions(Counts):
    """The same with the predicted classes."""

    predictions: str  # packed classes (n,), see `records.packing`


class SNNCounts(Counts):
    """Accuracy of the SNN on one split."""

    undecided: int  # images whose largest output is shared by several classes


class SNNPredictions(SNNCounts):
    """The same with the predicted classes."""

    predictions: str  # packed classes (n,)


class ANNResults(TypedDict):
    """Results of the ANN. Imported weights have no validation images (n = 0)."""

    test: Predictions
    validation: Counts


class TimeStepResults(TypedDict):
    """Results of the SNN after T time steps. Spikes and operations are summed over all test images."""

    test: SNNPredictions
    validation: SNNCounts
    spikes: dict[str, int]  # by layer
    operations: dict[str, int]  # synaptic operations, by layer
    seconds: float  # of the simulation of all test images
    latency: NotRequired[int]  # steps before the first output
    conversion_seconds: NotRequired[float]  # statistics included
    commit: NotRequired[str | None]  # of the code; None without git


class NetworkSize(TypedDict):
    """Sizes of the network. Counts by layer are per image."""

    parameters: int
    neurons: dict[str, int]  # by spiking layer
    macs: dict[str, int]  # multiply-accumulates of the ANN, by layer
    analog: list[str]  # layers that receive the image itself


class SourceFields(TypedDict):
    """The source ANN."""

    weights_hash: str  # see `training.checkpoints.weights_hash`
    training_seconds: float | None  # None for imported weights
    trained_on: NotRequired[list[str]]  # machines, in order


class ImageCounts(TypedDict):
    """Number of images of every split."""

    train: int
    validation: int
    calibration: int
    test: int


class DataFields(TypedDict):
    """The dataset."""

    official: bool  # whether all files have the official checksums
    n: ImageCounts


class Versions(TypedDict):
    """Versions of software; None for a package that is not installed."""

    ann2snn: str | None
    torch: str | None
    python: str


class Provenance(TypedDict):
    """The environment that a record was made in."""

    commit: str | None  # None without git
    dirty: bool | None  # whether files differed from the commit; None without git
    versions: Versions
    device: str  # "cpu", or "cuda: " and the name of the GPU
    cpu: str  # early records lack the instructions, such as "AVX2", after the name
    calibration_hash: str  # of the indices of the calibration images
    command: str
    date: str  # ISO 8601, UTC
    threads: int  # CPU threads
    batch: int  # images that are simulated at once
    engine: NotRequired[str]  # backend of the simulation
    method_code: NotRequired[str]  # SHA-256 (hex) of the method's code


class Record(TypedDict):
    """The results of one job. Early records lack the fields that are `NotRequired`."""

    id: str  # `Job.id`
    job: JobFields
    labels: str  # packed labels (n,) of the test images
    ann: ANNResults
    T: dict[str, TimeStepResults]  # by number of time steps
    network: NetworkSize
    source: SourceFields
    data: DataFields
    provenance: Provenance


SCHEMA, OPTIONAL = schema_of(Record)
ACTIVATION = re.compile(r"[A-Za-z_]\w*(:[^:]+)*")
TIME_STEPS = re.compile("[1-9][0-9]{0,4}")
SHA256 = re.compile("[0-9a-f]{64}")


def validate(value: Any) -> Record:
    """Checks that a value read from JSON is a complete and consistent record, and returns it.

    Raises:
        ValueError: It is not; the message names the first defect.
    """
    conform(value, SCHEMA, "record", OPTIONAL)
    record = cast(Record, value)
    if record["job"]["protocol"] != PROTOCOL:
        raise ValueError(f"it follows protocol {record['job']['protocol']}, this is protocol {PROTOCOL}")
    try:
        job = Job(**record["job"])
    except TypeError:
        raise ValueError("its job has an unknown field") from None
    if record["id"] != job.id:
        raise ValueError(f"its id is {record['id']}, its job's is {job.id}")
    _check_names_and_sizes(record)
    _check_counts(record)
    return record


def _check_names_and_sizes(record: Record) -> None:
    job, network, n = record["job"], record["network"], record["data"]["n"]
    check_names({name: job[name] for name in ("dataset", "network", "activation", "recipe", "method")})
    for name, digest in (("data_hash", job["data_hash"]), ("weights_hash", record["source"]["weights_hash"])):
        if not SHA256.fullmatch(digest):
            raise ValueError(f"its {name} is {short_repr(digest)}, not a SHA-256")
    if not ACTIVATION.fullmatch(job["activation"]):
        raise ValueError(f"its activation is {short_repr(job['activation'])}")
    if not job["method_version"] or not job["calibration"] or job["calibration"] != n["calibration"]:
        raise ValueError("its calibration images or the version of its method are not counted")
    if not (sum(network["macs"].values()) and network["macs"] and n["train"] and record["provenance"]["threads"]):
        raise ValueError("its multiply-accumulates, training images or threads are 0")
    if unknown := sorted(set(network["analog"]) - network["macs"].keys()):
        raise ValueError(f"its layer {short_repr(unknown[0])} reads the image and has no multiply-accumulates")


def _check_counts(record: Record) -> None:
    """Checks that all results cover all images, and that `correct` agrees with the predictions."""
    labels, n = unpack(record["labels"]), record["data"]["n"]
    if not record["T"]:
        raise ValueError("it has no T")
    dataset = record["job"]["dataset"]
    is_downloaded = dataset in DATASETS and dataset != "digits"  # the digits come with a library, always complete
    official = DATASETS[dataset].images[2] if is_downloaded else n["test"]
    if record["data"]["official"] and n["test"] != official:
        raise ValueError(f"it has {n['test']:,} test images of official data, which has {official:,}")
    if record["job"]["seed"] is None and n["validation"]:
        raise ValueError("it has validation images, which its imported weights were trained on")
    for T in record["T"]:
        if not TIME_STEPS.fullmatch(T):
            raise ValueError(f"{short_repr(T)} is not a T")
    if len(labels) != n["test"] or not n["test"]:
        raise ValueError(f"it has {len(labels)} labels for {n['test']} test images")
    for name, result in [("the ANN", record["ann"]), *((f"T = {T}", result) for T, result in record["T"].items())]:
        for split, counts in (("test", result["test"]), ("validation", result["validation"])):
            if counts["n"] != n[split]:
                raise ValueError(f"{name} was measured on {counts['n']} of {n[split]} {split} images")
            if max(counts["correct"], counts.get("undecided", 0)) > counts["n"]:
                raise ValueError(f"{name} counts more than all {split} images")
        predictions = unpack(result["test"]["predictions"])
        if len(predictions) != len(labels):
            raise ValueError(f"{name} has {len(predictions)} predictions for {len(labels)} labels")
        correct = int((predictions == labels).sum())
        if correct != result["test"]["correct"]:
            raise ValueError(f"{name} has {result['test']['correct']} correct, its predictions have {correct}")
