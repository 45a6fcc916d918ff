"""Rechecking records made elsewhere: on other data, by other hardware, with another method's file, without weights."""

import dataclasses
import json
from fractions import Fraction
from math import comb
from pathlib import Path

import pytest
import torch

from ann2snn.data.registry import load
from ann2snn.data.split import Split
from ann2snn.errors import UserError
from ann2snn.experiments import find_weights as find_weights_module
from ann2snn.experiments import recheck, rounding, run_job
from ann2snn.experiments.find_weights import find_weights
from ann2snn.experiments.source import SourceANN
from ann2snn.experiments.sweep import Settings, Sweep
from ann2snn.networks.registry import create
from ann2snn.records import image_hashes, store
from ann2snn.records.job import Job
from ann2snn.records.packing import pack, unpack
from ann2snn.training import checkpoints, pretrained
from ann2snn.training.source_info import source_info

FIELDS = ("digits_plain", "threshold_relu:1", 0)
CHANGED = [3, 77, 200]  # test images that are others in the copy


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def with_images(digits, places, split="test", hash="e" * 64):
    """A copy of the digits in which the first pixel of these images of a split is another."""
    part = getattr(digits, split)
    images = part.images.clone()
    images[part.indices[torch.tensor(places)], 0, 0, 0] ^= 1
    changed = Split(images, part.labels, part.indices, part.normalise)
    return dataclasses.replace(digits, **{split: changed}, hash=hash, official=False)


@pytest.fixture(scope="module")
def elsewhere(digits, tmp_path_factory):
    """(root, path of a record made on a copy of the digits, the copy)."""
    root, copy = tmp_path_factory.mktemp("results"), with_images(digits, CHANGED)
    info = source_info(copy, "digits_plain", "threshold_relu:1", 0)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = create("digits_plain", num_classes=10, in_chans=1, activation="threshold_relu:1")
    checkpoints.save_source(net, info, weights := root / checkpoints.weights_file(copy, *FIELDS, root))
    table = Sweep("t", "digits", *((x,) for x in FIELDS), (("optimal", {}),), (2, 4))
    (job,) = table.jobs(copy, *FIELDS)
    run_job.run(job, [2, 4], SourceANN(copy, weights, "cpu"), root)
    image_hashes.write(copy, root)
    return root, job.path(root), copy


def again(path, **how):
    return recheck.recheck(path, Settings(path.parents[5] / "no runs", device="cpu", **how))


def tamper(path, tmp_path, change):
    """A copy of the results with a changed record -> its path."""
    root = path.parents[5]
    for file in root.rglob("*"):
        if file.is_file():
            target = tmp_path / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    record = json.loads(path.read_text())
    change(record)
    copy = tmp_path / path.relative_to(root)
    copy.write_text(json.dumps(record))
    return copy


def other_class(place):
    """Puts one image of T = 4 into the next class."""

    def change(record):
        found, labels = unpack(record["T"]["4"]["test"]["predictions"]), unpack(record["labels"])
        found[place] = (found[place] + 1) % 10
        record["T"]["4"]["test"] |= {"predictions": pack(found), "correct": int((found == labels).sum())}

    return change


def test_only_images_that_are_equal_are_compared(elsewhere, tmp_path):
    _, path, _ = elsewhere
    found = again(path)
    assert found.same and found.agrees and found.left_out == 3 and [x.differ for x in found.lines] == [0, 0]
    assert "3 test images are not those of the record and are left out" in found.rule
    assert "spikes and operations, which are of all images, are not compared" in found.rule
    left_out = again(tamper(path, tmp_path / "a", other_class(CHANGED[1])))
    assert left_out.agrees and left_out.lines == found.lines
    compared = again(tamper(path, tmp_path / "b", other_class(CHANGED[1] + 1)))
    assert not compared.agrees and [x.differ for x in compared.lines] == [0, 1]


def test_on_the_same_copy_all_is_compared(elsewhere, monkeypatch):
    _, path, copy = elsewhere
    monkeypatch.setattr(recheck, "load", lambda *_, **__: copy)
    found = again(path)
    assert found.agrees and found.left_out == 0 and found.rule == "the same environment: nothing may differ"


def test_other_training_images_are_refused(elsewhere, digits, monkeypatch):
    _, path, _ = elsewhere
    monkeypatch.setattr(recheck, "load", lambda *_, **__: with_images(digits, [5], "train", hash="f" * 64))
    with pytest.raises(UserError, match="the training images, which calibrate, differ"):
        again(path)


def test_without_hashes_the_message_names_the_file(elsewhere, tmp_path):
    _, path, copy = elsewhere
    moved = tamper(path, tmp_path, lambda record: None)
    image_hashes.hashes_path("digits", copy.hash, tmp_path).unlink()
    with pytest.raises(UserError, match=r"no file images/digits-eeeeeeee\.json beside it .*--data-root"):
        again(moved)


def test_hashes_find_the_images_that_are_equal(digits):
    copy = with_images(digits, CHANGED)
    assert (image_hashes.test_hashes(copy) != image_hashes.test_hashes(digits)).nonzero()[0].tolist() == CHANGED
    assert image_hashes.training_hash(copy) == image_hashes.training_hash(digits)
    labels, test = digits.test.labels.clone(), digits.test
    labels[9] = (labels[9] + 1) % 10
    other = dataclasses.replace(digits, test=Split(test.images, labels, test.indices, test.normalise))
    assert (image_hashes.test_hashes(other) != image_hashes.test_hashes(digits)).nonzero()[0].tolist() == [9]


def test_publish_writes_the_hashes_of_unofficial_data(make_record, digits, tmp_path, monkeypatch):
    copy = with_images(digits, CHANGED)
    monkeypatch.setattr(image_hashes, "load", lambda *_, **__: copy)
    store.save(make_record(), tmp_path)
    assert image_hashes.publish(tmp_path, None) == []  # official data
    store.save(make_record(official=False, data_hash="a" * 64), tmp_path)
    assert image_hashes.publish(tmp_path, None) == []  # not the data found here
    store.save(make_record(official=False, data_hash=copy.hash), tmp_path)
    (path,) = image_hashes.publish(tmp_path, None)
    assert path == tmp_path / "images/digits-eeeeeeee.json"
    assert image_hashes.publish(tmp_path, None) == []  # there already
    job = Job(**make_record(official=False, data_hash=copy.hash)["job"])
    assert len(image_hashes.matching_indices(job, digits, [tmp_path])) == len(digits.test) - 3


# ---------------------------------------------------------------------------------------------------- the method's file


def test_an_edited_method_is_named(elsewhere, tmp_path):
    _, path, _ = elsewhere
    found = again(tamper(path, tmp_path, lambda record: record["provenance"].update(method_code="ast:" + "0" * 64)))
    assert found.same and found.agrees
    assert "the method's file" in found.rule
    assert "optimal.py, or one that it imports, has changed since the record was made" in found.rule
    assert "another environment" not in found.rule


def test_a_hash_of_an_older_version_is_not_compared(elsewhere, tmp_path):
    _, path, _ = elsewhere
    found = again(tamper(path, tmp_path, lambda record: record["provenance"].update(method_code="0" * 64)))
    assert found.same and found.agrees and "has changed" not in found.rule
    assert "from an older version of ann2snn, whose hash of the method's file cannot be compared" in found.rule
    found = again(tamper(path, tmp_path, lambda record: record["provenance"].pop("method_code")))
    assert found.agrees and "the method's file" not in found.rule


def test_what_an_older_version_made_is_put_aside(elsewhere, tmp_path, capsys):
    root, path, copy = elsewhere
    moved = tamper(path, tmp_path, lambda record: record["provenance"].update(method_code="0" * 64))
    job = Job(**store.load(moved)["job"])
    run_job.run(job, [4], SourceANN(copy, checkpoints.weights_file(copy, *FIELDS, root), "cpu"), tmp_path)
    assert "keeps T = 2, made by an older version of ann2snn, which hashed methods" in capsys.readouterr().err


def test_what_an_edited_method_made_is_put_aside_under_its_name(elsewhere, tmp_path, capsys):
    root, path, copy = elsewhere
    moved = tamper(path, tmp_path, lambda record: record["provenance"].update(method_code="ast:" + "0" * 64))
    job = Job(**store.load(moved)["job"])
    run_job.run(job, [4], SourceANN(copy, checkpoints.weights_file(copy, *FIELDS, root), "cpu"), tmp_path)
    err = capsys.readouterr().err
    assert "keeps T = 2, made with another " in err and "optimal.py." in err and "environment" not in err


def test_what_differs_of_the_environment_is_named(elsewhere, tmp_path):
    _, path, _ = elsewhere
    found = again(tamper(path, tmp_path, lambda record: record["provenance"].update(cpu="Z80", device="cuda: A")))
    assert not found.same and found.agrees and "for Z80" in found.rule and "device cpu for cuda: A" in found.rule
    assert all(len(x.flips) == rounding.RUNS and x.allowed >= 4 for x in found.lines)


# -------------------------------------------------------------------------------------------------------------- weights


def test_missing_weights_name_the_command_that_makes_them(make_record, tmp_path):
    def says(**job):
        path = store.save(make_record(**job), tmp_path)
        with pytest.raises(UserError) as error:
            find_weights(path, store.load(path), tmp_path / "runs")
        return str(error.value)

    public = pretrained.CHECKPOINTS["resnet20-akamaster"]
    fields = {"dataset": "cifar10", "network": "cifar_resnet20", "official": False}
    text = says(seed=None, recipe=public.recipe, **fields)
    assert f"`ann2snn import resnet20-akamaster FILE`, FILE being {public.file} of {public.url}" in text
    text = says(seed=None, recipe="qcfs-01234567", **fields)
    assert "`ann2snn import qcfs FILE --dataset cifar10 --network cifar_resnet20 --activation relu`" in text
    assert "sha256 begins with 01234567" in text
    key = find_weights_module.RECIPES["digits"].key
    text = says(recipe=key, seed=2)
    assert "`ann2snn train --dataset digits --network plain --activation relu --seed 2 --recipe digits`" in text
    assert "in 2 s on the machine of the record" in text and "--weights" in text
    assert "recipe digits-00000000 is not in this version" in says(recipe="digits-00000000", seed=3)


def test_weights_in_the_runs_folder_are_found(elsewhere, tmp_path):
    root, path, copy = elsewhere
    lonely = tmp_path / path.relative_to(root)
    lonely.parent.mkdir(parents=True)
    lonely.write_bytes(path.read_bytes())
    record = store.load(lonely)
    with pytest.raises(UserError, match="no weights with the recorded hash"):
        find_weights(lonely, record, tmp_path / "runs")
    assert find_weights(lonely, record, root) == checkpoints.weights_file(copy, *FIELDS, root)


# ------------------------------------------------------------------------------------------------------------- rounding


@pytest.mark.parametrize("flips", [(0, 0, 0), (1, 0, 0), (2, 2, 2), (7, 11, 8), (5,), (30, 33, 27)])
def test_allowed_is_the_binomial_bound(flips):
    n, runs = len(flips) * max(flips), len(flips)

    def tail(d):
        """P(X >= d) for X ~ Binomial(n + d, 1 / (runs + 1)), exactly."""
        p = Fraction(1, runs + 1)
        return sum(comb(n + d, k) * p**k * (1 - p) ** (n + d - k) for k in range(d, n + d + 1))

    d = rounding.allowed_differences(flips)
    assert tail(d) >= Fraction(1, 1000) > tail(d + 1)


def test_allowed_by_hand():
    assert rounding.allowed_differences((0, 0, 0)) == 4  # (1/4)^4 = 0.0039, (1/4)^5 = 0.00098
    assert rounding.allowed_differences((0,)) == 9  # 2^-9 = 0.00195, 2^-10 = 0.00098


def test_perturbed_weights_differ_as_rounding_does(elsewhere):
    root, _, copy = elsewhere
    source = SourceANN(copy, checkpoints.weights_file(copy, *FIELDS, root), "cpu")
    stats, _ = source.statistics(64, 0)
    before = [p.clone() for p in source.ann.parameters()]
    other, others = rounding.perturbed(source.ann, stats, 1)
    assert all(torch.equal(p, q) for p, q in zip(before, source.ann.parameters(), strict=True))
    assert others.ann is other and len(others.images()) == 64
    for p, q in zip(before, other.parameters(), strict=True):
        if p.dim() == 1:
            assert torch.equal(p, q)
        else:
            spread = ((q.double() / p.double() - 1) / (p[0].numel() / 3) ** 0.5).std().item() * 2**24
            assert 0.8 < spread < 1.3  # 1, and what float32 itself rounds
    first, second = (rounding.perturbed(source.ann, stats, 1)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_rule_is_written_down():
    page = (Path(__file__).parents[2] / "docs" / "recheck.md").read_text()
    assert rounding.RUNS == 3 and "three runs" in page and "0.1 %" in page
