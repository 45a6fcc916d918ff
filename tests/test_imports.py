"""Public checkpoints as sources; the files here are fabricated, and the hashes that pin them too."""

import csv
import dataclasses
import hashlib
import sys
from pathlib import Path

import pytest
import torch

from ann2snn import data, imports, networks, records, tracking, training
from ann2snn.data import Normalise
from ann2snn.errors import UserError
from ann2snn.imports import CHECKPOINTS, import_weights
from ann2snn.leaderboard.rows import sections
from ann2snn.pipeline import Source

sys.path.insert(0, str(Path(__file__).parent))
from sources import put  # noqa: E402

PUBLIC = "resnet20-akamaster"


def pin(monkeypatch, name, file, checkpoint=None):
    """Makes `file` the one that `name` stands for."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    checkpoint = dataclasses.replace(checkpoint or CHECKPOINTS[name], file=file.name, sha256=digest)
    monkeypatch.setitem(CHECKPOINTS, name, checkpoint)
    return checkpoint


def published(path, network="cifar_resnet20", in_chans=3):
    """A file as akamaster publishes it, of a network that no one trained."""
    net = networks.create(network, num_classes=10, in_chans=in_chans)
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    return net


def test_the_pins():
    checkpoint = CHECKPOINTS[PUBLIC]
    assert checkpoint.sha256 == "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8"
    assert (checkpoint.file, checkpoint.recipe) == ("resnet20-12fca82f.th", "akamaster-12fca82f")
    assert checkpoint.normalise == Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255.0)
    assert {c.network for c in CHECKPOINTS.values()} <= set(networks.names())
    assert {c.dataset for c in CHECKPOINTS.values()} <= set(data.names())


def test_a_checkpoint_becomes_a_source(ann2snn, tmp_path, monkeypatch):
    net = published(tmp_path / "file.th")
    recipe = pin(monkeypatch, PUBLIC, tmp_path / "file.th").recipe
    code, out, err = ann2snn(f"import {PUBLIC} file.th --runs here")
    assert (code, err) == (0, "")
    path = Path(f"here/sources/cifar10/cifar_resnet20-relu/imported-{recipe}/weights.pt")
    named = f"--dataset cifar10 --network cifar_resnet20 --activation relu --recipe {recipe}"
    assert out == f"{path}\nnow: ann2snn sweep {named} --runs here\n"
    assert path == imports.find("here", "cifar10", "cifar_resnet20", "relu", recipe)
    found, info = training.load_source(path)
    assert training.weights_hash(found) == info["weights_hash"] == training.weights_hash(net)
    assert (info["seed"], info["data_hash"], info["training_seconds"]) == (None, None, None)
    assert Normalise(**info["normalization"]) == CHECKPOINTS[PUBLIC].normalise
    assert info["checkpoint"]["licence"] == "BSD-2-Clause"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "file.th", tmp_path / path]


@pytest.mark.parametrize(
    "file, says",
    [
        (
            "absent.th",
            r"absent.th cannot be read \(No such file .* resnet20-12fca82f.th of https://github.com/akamaster/",
        ),
        (
            "another.th",
            r"another.th is not resnet20-12fca82f.th of .*: its sha256 is [0-9a-f]{64}, not 12fca82f0bebc41",
        ),
    ],
)
def test_any_other_file_is_refused(file, says, tmp_path):
    published(tmp_path / "another.th")
    with pytest.raises(UserError, match=says) as caught:
        import_weights(PUBLIC, tmp_path / file, tmp_path / "runs")
    assert "\n" not in str(caught.value) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", ["text", "a tensor", "code", "another network", "one weight too few"])
def test_a_pinned_file_must_hold_the_networks_weights(content, tmp_path, monkeypatch):
    file = tmp_path / "file.th"
    published(file, "cifar_resnet32" if content == "another network" else "cifar_resnet20")
    if content == "text":
        file.write_text("epoch,accuracy\n")
    elif content == "a tensor":
        torch.save(torch.ones(3), file)
    elif content == "code":
        torch.save({"state_dict": networks.create("digits_plain", num_classes=10, in_chans=1)}, file)
    elif content == "one weight too few":
        held = torch.load(file)
        del held["state_dict"]["module.linear.bias"]
        torch.save(held, file)
    pin(monkeypatch, PUBLIC, file)
    with pytest.raises(UserError, match="file.th does not hold the weights of cifar_resnet20") as caught:
        import_weights(PUBLIC, file, tmp_path / "runs")
    assert "\n" not in str(caught.value) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "line, says",
    [
        ("import resnet20 file.th", "No checkpoint is called 'resnet20'; there are: resnet20-akamaster"),
        (f"import {PUBLIC}", "file"),
        ("sweep --dataset digits --network digits_plain --recipe a-0 --seed 1", "not allowed with"),
        ("sweep --dataset digits --network digits_plain --recipe a-0", "No weights a-0 of digits_plain with threshold"),
    ],
)
def test_bad_input_is_one_sentence(ann2snn, line, says):
    code, _, err = ann2snn(line)
    assert code == 2 and says in err and len(err.splitlines()) == 1


def test_data_in_another_normalisation():
    digits = data.load("digits")
    digits = dataclasses.replace(digits, train=digits.train.augmented("crop_flip"))
    other = digits.normalised({"mean": (0.25,), "std": (0.5,), "scale": 8.0})
    assert other.hash == digits.hash and digits.normalised(None) is digits
    for split in ("validation", "test"):
        (x, labels), (y, same) = (next(getattr(d, split).batches(360)) for d in (digits, other))
        assert torch.equal(y, 4 * x - 0.5) and torch.equal(labels, same)  # 16 / 8 / 0.5, 0.25 / 0.5
    assert other.train.augment is digits.train.augment and torch.equal(other.train.indices, digits.train.indices)


@pytest.fixture
def twins(tmp_path, monkeypatch):
    """A source of the digits, and a checkpoint that does the same to images of twice the contrast."""
    trained = put(tmp_path / "runs")
    state = training.load_source(trained)[0].state_dict()
    state["0.weight"] = state["0.weight"] / 2
    torch.save({"state_dict": state}, tmp_path / "twin.th")
    kind = {"dataset": "digits", "network": "digits_plain", "classes": 10, "normalise": Normalise((0.0,), (0.5,), 16.0)}
    twin = dataclasses.replace(CHECKPOINTS[PUBLIC], author="someone", activation="threshold_relu:1", **kind)
    recipe = pin(monkeypatch, "twin", tmp_path / "twin.th", twin).recipe
    return trained, import_weights("twin", tmp_path / "twin.th", tmp_path / "runs")[0], recipe


def test_a_sweep_of_imported_weights(ann2snn, twins, tmp_path):
    line = "sweep --dataset digits --network digits_plain --T 2 4 --wandb off --device cpu"
    assert ann2snn(line)[0] == 0
    code, out, err = ann2snn(f"{line} --recipe {twins[2]}")
    assert code == 0 and "digits_plain  threshold_relu:1  -" in out, err
    imported, trained = records.load_all("runs")
    assert (imported["job"]["seed"], imported["job"]["recipe"]) == (None, twins[2])
    path = records.Job(**imported["job"]).path("runs")
    assert path.exists() and path.parent == Path("runs/records/digits/digits_plain/threshold_relu-1/imported")
    assert imported["ann"] == trained["ann"] | {"validation": {"n": 0, "correct": 0}}
    assert imported["T"]["2"]["validation"] == {"n": 0, "correct": 0, "undecided": 0}
    for t in ("2", "4"):
        for what in ("test", "spikes", "operations"):
            assert imported["T"][t][what] == trained["T"][t][what], what

    rows = list(csv.DictReader(Path("runs/leaderboard.csv").read_text().splitlines()))
    assert len(rows) == 4
    for row in rows:
        assert (row["validation_mean"] == "") == (row["recipe"] == twins[2])
    code, out, _ = ann2snn(f"recheck {path}")
    assert code == 0 and "agrees (the same environment" in out
    assert ann2snn("publish")[0] == 0  # the record goes out, the weights of others do not
    assert len(records.load_all("results")) == 2
    assert [p.name.split("-seed0-")[0] for p in Path("results/weights/digits").iterdir()] == [
        "digits_plain-threshold_relu-1"
    ]


def test_inspect_calibrates_on_the_images_that_the_network_wants(ann2snn, twins):
    (_, trained, _), (_, imported, _) = (ann2snn(f"inspect {path}") for path in twins[:2])
    marks = [out.partition("calibrated on")[2] for out in (trained, imported)]
    assert "V_th" in marks[0] and marks[0] == marks[1]


def test_imported_weights_are_of_one_dataset(twins):
    digits = data.load("digits")
    with pytest.raises(UserError, match="was trained on other data than this others"):
        Source(dataclasses.replace(digits, name="others"), twins[1])
    copy = dataclasses.replace(digits, hash="0" * 64)
    assert Source(copy, twins[1]).data.hash == copy.hash
    with pytest.raises(UserError, match="was trained on other data"):
        Source(copy, twins[0])


def test_validation_of_imported_weights_is_no_validation(make_record):
    for seed, known in ((None, False), (0, True)):
        record = make_record(seed=seed, T={8: 9}, ann_validation=9)
        (section,) = sections([record])
        (row,) = section.rows
        assert (row.accuracy(8, "validation") is not None) is known and row.accuracy(8) is not None
        assert row.smallest_T == (8 if known else None)

        class Run:
            logged, summary = {}, {}

            def log(self, values):
                self.logged = self.logged | values

            def define_metric(self, *_, **__): ...

        class Wandb:
            Table = staticmethod(lambda *_: None)

        run = Run()
        tracking._fill_record(record, Wandb, run)
        assert ("snn/validation" in run.logged, "ann/validation" in run.summary) == (known, known)
        assert "snn/test" in run.logged and "ann/test" in run.summary
        Run.summary.clear()
