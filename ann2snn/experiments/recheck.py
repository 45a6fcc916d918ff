"""Recomputes a record and says whether it agrees."""

import io
import os
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import fx

from ann2snn import devices, reading
from ann2snn.calibration.statistics import Statistics
from ann2snn.data.augmentations import AUGMENTATIONS
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments import rounding
from ann2snn.experiments.cpu_threads import cpu_threads
from ann2snn.experiments.estimate import clock
from ann2snn.experiments.run_job import method_file, place_of, read, runs_of
from ann2snn.experiments.source import BATCH, Source
from ann2snn.experiments.sweep import Settings
from ann2snn.methods.registry import find
from ann2snn.methods.source_hash import is_comparable
from ann2snn.progress import Bar
from ann2snn.records import image_hashes, store
from ann2snn.records.job import Job
from ann2snn.records.packing import unpack
from ann2snn.simulation.simulate import simulate
from ann2snn.training import pretrained
from ann2snn.training.recipes import RECIPES


@dataclass(frozen=True)
class Checked:
    """One T: on how many test images the recomputed class differs, on how many it differs in runs with other rounding,
    and in the same environment whatever else differs (counts of validation, spikes, operations, the ANN's results)."""

    T: int
    differ: int
    flips: tuple[int, ...]
    accuracy: float
    recorded: float
    others: tuple[str, ...]

    def agrees(self, same: bool) -> bool:
        return not (self.differ or self.others) if same else self.differ <= self.allowed

    @property
    def allowed(self) -> int:
        return rounding.allowed(self.flips)


@dataclass(frozen=True)
class Recheck:
    """A record and its recomputation. `elsewhere` names what of the environment differs, `method_remark` says where the
    method's code is not known to be the record's, `left_out` how many test images are other ones here."""

    lines: list[Checked]
    elsewhere: tuple[str, ...]
    method_remark: str | None
    left_out: int

    @property
    def same(self) -> bool:
        """Whether the environment is the same: then nothing may differ, elsewhere `allowed` images."""
        return not self.elsewhere

    @property
    def agrees(self) -> bool:
        return all(line.agrees(self.same) for line in self.lines)

    @property
    def rule(self) -> str:
        """What was compared, and how closely it has to agree."""
        text = "the same environment: nothing may differ"
        if not self.same:
            bound = "as many images may differ as rounding flips, see docs/recheck.md"
            text = f"another environment, {' and '.join(self.elsewhere)}: {bound}"
        if self.left_out:
            text += f"; {self.left_out} test images are not those of the record and are left out, and spikes and"
            text += " operations, which are of all images, are not compared"
        if self.method_remark:
            text += f"; {self.method_remark}"
        return text


def recheck(path: Path, settings: Settings, weights: Path | None = None) -> Recheck:
    """Recomputes a record.

    Args:
        path: Of the record.
        settings: Where the data are, and where `ann2snn import` and `ann2snn train` put weights.
        weights: By default the file with the recorded hash that is published or lies in `settings.runs`.

    Raises:
        UserError: There are no such weights, the method has another version, or the data are other ones and no hashes
            of the record's images say which are equal.
    """
    record = store.load(path)
    job, place = Job(**record["job"]), record["provenance"]
    method = find(job.method)
    if method.version != job.method_version:
        raise UserError(
            f"The record is of version {job.method_version} of {job.method}, which is at {method.version} now."
        )
    if job.calibration_transform not in ("none", *AUGMENTATIONS):
        raise UserError(
            f"{path} was calibrated on images after {job.calibration_transform!r}, which is no augmentation."
        )
    unofficial = settings.accept_unofficial or not record["data"]["official"]
    data, places = load(job.dataset, settings.data_root, accept_unofficial=unofficial), None
    if data.hash != job.data_hash:
        places = image_hashes.equal(job, data, [*path.resolve().parents])
        data = replace(data, hash=job.data_hash)  # what is read of it below is the same
    weights = weights or find_weights(path, record, settings.runs)
    source = Source(data, weights, devices.accelerator(settings.device))
    wanted = record["source"]["weights_hash"]
    if source.info["weights_hash"] != wanted:
        raise UserError(f"{weights} does not hold the weights of the record (sha256 {wanted[:12]}...).")
    with cpu_threads(min(place["threads"], os.cpu_count() or 1)):
        stats, calibration_hash = source.statistics(job.calibration, job.calibration_seed, job.calibration_transform)
        if calibration_hash != place["calibration_hash"]:
            raise UserError("The calibration images drawn here are not those of the record: numpy draws differently.")
        elsewhere = _elsewhere(place_of(source, calibration_hash), place)
        remark = _method_remark(job.method, place.get("method_code"))
        lines = _compare(source, job, stats, record, not elsewhere, places)
    left_out = 0 if places is None else record["data"]["n"]["test"] - len(places)
    return Recheck(lines, elsewhere, remark, left_out)


def _elsewhere(here: dict, place: dict) -> tuple[str, ...]:
    """What of the environment is not that of the record, such as `threads 2 for 1`."""
    place = {"engine": "C" if place["device"] == "cpu" else "CUDA"} | place  # which the first records do not name
    pairs = {name: (here[name], place[name]) for name in ("device", "cpu", "threads", "batch", "engine")}
    pairs["torch"] = here["versions"]["torch"], place["versions"]["torch"]
    return tuple(f"{name} {ours} for {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs)


def _method_remark(method: str, recorded: str | None) -> str | None:
    """A remark on the method's code; None where it is the record's, or where the record holds no hash of it."""
    if recorded in (None, find(method).source_hash):
        return None
    if is_comparable(recorded):
        return f"the method's file {method_file(method)}, or one that it imports, has changed since the record was made"
    return "the record is from an older version of ann2snn, whose hash of the method's file cannot be compared"


def _compare(
    source: Source, job: Job, stats: Statistics, record: dict, same: bool, places: np.ndarray | None
) -> list[Checked]:
    """One line for each T, over the test images at `places`, or all."""
    test, validation, lines = source.data.test, source.data.validation, []
    at = slice(None) if places is None else places
    labels = unpack(record["labels"])
    if places is None and len(labels) != len(test) or not np.array_equal(labels[at], test.labels.numpy()[at]):
        raise UserError(f"The record has other labels than the {job.dataset} found here: run its job again.")
    labels = labels[at]
    runs = runs_of(job.method, sorted(map(int, record["T"])))
    ann = ("ANN",) if same and _ann(source.results, at) != _ann(record["ann"], at) else ()
    nets = [] if same else [rounding.perturbed(source.ann, stats, k) for k in range(rounding.RUNS)]
    with closing(Bar("recheck", sum(times[-1] for times in runs))) as bar:
        for times in runs:

            def again(part, ann: fx.GraphModule = source.ann, stats=stats, times=times):
                snn = find(job.method)(ann, stats, times[-1], seed=job.calibration_seed, **job.options)
                images = (x for x, _ in part.batches(BATCH))
                return simulate(snn, images, times[-1], at=times, batch=source.batch)

            result = again(test)
            found = read(result, test.labels, source, "test")
            held = read(again(validation), validation.labels, source, "validation") if same and len(validation) else {}
            others = [again(test, *net) for net in nets]
            for t in times:
                kept, new = record["T"][str(t)], found[str(t)]
                theirs = torch.from_numpy(unpack(kept["test"]["predictions"]))[at]
                ours = result.predictions(t).cpu()[at]
                flips = rounding.flips(ours, [other.predictions(t).cpu()[at] for other in others])
                right, recorded = (100 * float((p.numpy() == labels).mean()) for p in (ours, theirs))
                more = ann + _others(kept, new, held.get(str(t)), whole=places is None) if same else ()
                lines.append(Checked(t, int((ours != theirs).sum()), flips, right, recorded, more))
            bar.update(times[-1])
    return lines


def _ann(results: dict, at) -> tuple:
    """What is compared of the ANN itself."""
    return unpack(results["test"]["predictions"])[at].tolist(), results["validation"]


def _others(kept: dict, test: dict, validation: dict | None, whole: bool) -> tuple[str, ...]:
    """What differs beside the predictions; where not all test images are compared, only the validation."""
    names = [name for name in ("spikes", "operations") if whole and kept[name] != test[name]]
    names += ["undecided"] if whole and kept["test"]["undecided"] != test["undecided"] else []
    return (*names, *(["validation"] if validation and kept["validation"] != validation else []))


def find_weights(path: Path, record: dict, runs: Path = Path("runs")) -> Path:
    """The weights file of a record: published beside it, or imported or trained into `runs`.

    UserError: There is none; the sentence names the command that makes it.
    """
    roots = [*path.resolve().parents, runs]
    published = [store.weights_path(record, root) for root in roots]
    made_here = [f for root in roots for f in root.glob("sources/*/*/*/weights.pt")]
    wanted = record["source"]["weights_hash"]
    made = {name: record["job"][name] for name in ("network", "activation", "recipe", "seed")}
    for candidate in filter(Path.is_file, published + made_here):
        info = info_of(candidate)
        if info.get("weights_hash") == wanted and made.items() <= info.items():
            return candidate
    raise UserError(
        f"No weights with the recorded hash {wanted[:12]}... lie beside {path} or in {runs}: {_origin(record)}, or name"
        " their file with --weights."
    )


def _origin(record: dict) -> str:
    """The command that makes the weights of a record."""
    job = Job(**record["job"])
    named = {"dataset": job.dataset, "network": job.network, "activation": job.activation}
    author, _, digest = job.recipe.rpartition("-")
    if job.seed is None:
        for name, checkpoint in pretrained.CHECKPOINTS.items():
            if checkpoint.recipe == job.recipe:
                return f"`ann2snn import {name} FILE` brings them, with {checkpoint.file} of {checkpoint.url}"
        options = " ".join(f"--{name} {value}" for name, value in named.items())
        return f"`ann2snn import {author} FILE {options}` brings them, with the file whose sha256 begins with {digest}"
    options = " ".join(f"--{name} {value}" for name, value in named.items())
    command = f"`ann2snn train {options} --seed {job.seed} --recipe {author}`"
    plan = RECIPES.get(author)
    if plan is None or plan.key != job.recipe:
        return f"their recipe {job.recipe} is none of this version, and the commit in the record has it"
    spent = record["source"]["training_seconds"]
    took = f" in {clock(spent)}" if spent else ""
    return f"{command} trains them{took} on the machine of the record, and others like them elsewhere"


def info_of(path: Path) -> dict:
    """What a weights file says of its source; nothing where it cannot be read."""
    try:
        content = reading.read_bytes(path, "train the source again")
        return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["info"])
    except Exception:
        return {}
