"""Wrong files, as a user meets them at the command line: one sentence, exit code 2, and no file is changed."""

import io
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from dataset_files import binary_files, imagenet_files, write
from sources import put

from ann2snn.errors import UserError
from ann2snn.networks.registry import create
from ann2snn.training import checkpoints

SWEEP = "sweep --dataset digits --T 1 --device cpu --wandb off"


@pytest.fixture
def refused(ann2snn, tmp_path):
    """Runs a command that must fail, in the empty folder `tmp_path`, and gives what it says."""

    def run(line):
        before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
        code, out, err = ann2snn(line)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1, err
        assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before
        return err

    return run


def whole_but(**changes: bytes | None) -> dict[str, bytes]:
    files = {Path(path).stem: (path, content) for path, content in binary_files("cifar10").items()}
    changed = {stem: (files[stem][0], content) for stem, content in changes.items()}
    return {path: content for path, content in (files | changed).values() if content is not None}


FOLDERS = {
    "an archive": ({"cifar-10-python.tar.gz": b"0"}, "data/cifar-10-python.tar.gz is cut short"),
    "a folder in part": (whole_but(data_batch_3=None), "data/cifar-10-batches-bin lacks data_batch_3.bin; fetch it"),
    "an empty file": (whole_but(data_batch_1=b""), "data_batch_1.bin is damaged: it is empty; fetch it again."),
    "a cut file": (whole_but(data_batch_1=b"0" * 5000), "5,000 bytes are not a whole number of records of 3,073"),
    "a short file": (
        whole_but(data_batch_1=b"\1" * 3073),
        "data_batch_1.bin is not the official file (1 images, not 1",
    ),
    "one too high": ({"a/cifar-10-batches-bin/test_batch.bin": b""}, "is not in data but in data/a: name that by"),
    "another dataset": (binary_files("cifar100"), "CIFAR10 is not in data, which holds cifar100: put its folder"),
    "pictures": (imagenet_files(), "CIFAR10 is not in data, which holds train/, val/: put its folder cifar-10-batches"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_wrong_folder(kind, refused, tmp_path):
    files, says = FOLDERS[kind]
    write(tmp_path / "data", files)
    err = refused("train --dataset cifar10 --network cifar_resnet20 --data-root data --device cpu --wandb off")
    assert err.startswith("ann2snn: ") and says in err


def test_a_sweep_that_finds_another_source_where_it_looks(refused, tmp_path):
    relu = put(tmp_path / "runs", activation="relu")
    wanted = put(tmp_path / "runs")
    mine = wanted.read_bytes()
    for other in (relu, put(tmp_path / "runs", network="digits_residual"), put(tmp_path / "runs", seed=1)):
        shutil.copy(other, wanted)
        err = refused(f"{SWEEP} --network digits_plain")
        place = other.relative_to(tmp_path / "runs")
        assert f"{wanted.relative_to(tmp_path)} holds another source than its path says: move it to {place}" in err
    wanted.write_bytes(mine)
    assert checkpoints.load_source(wanted)[1]["activation"] == "threshold_relu:1"


def test_a_source_may_be_copied_anywhere_else(tmp_path):
    copy = tmp_path / "sources.pt"
    shutil.copy(put(tmp_path / "runs"), copy)
    assert checkpoints.load_source(copy)[1]["network"] == "digits_plain"


def saved(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def other_weights(source):
    net = create("digits_residual", num_classes=10, in_chans=1, activation="relu")
    return source | {"state_dict": net.state_dict()}


def without(name):
    return lambda source: source | {"info": {key: value for key, value in source["info"].items() if key != name}}


CHECKPOINTS = {
    "weights alone": (lambda source: source["state_dict"], "is not a source of ann2snn: name a weights.pt that"),
    "of Lightning": (
        lambda source: {"epoch": 3, "state_dict": source["state_dict"]},
        "is not a source of ann2snn: name",
    ),
    "other weights": (other_weights, "is not a source of ann2snn: its weights are not those of digits_plain; remove"),
    **{
        f"without {name}": (without(name), "is not a source of ann2snn: name")
        for name in ("dataset", "seed", "network")
    },
    "an unknown network": (
        lambda source: source | {"info": source["info"] | {"network": "digits_plane"}},
        "checkpoint.pt cannot be built here: No network, here or in timm, is called 'digits_plane'",
    ),
}


def scripted(net) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(net), file)
    return file.getvalue()


NET = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
NO_RECORD = "; name a record, a JSON file that a sweep wrote below records/."
FOREIGN = {  # a file of the user's, and what commands say of it
    "net.pt, a whole network": (
        saved(NET),
        {"inspect": "net.pt holds a whole pickled network, or other objects that run code when they are loaded: na"},
    ),
    "run.ckpt, with a whole network": (saved({"model": NET, "epoch": 3}), {"inspect": "holds a whole pickled network"}),
    "net.pt, scripted": (
        scripted(NET),
        {"inspect": "net.pt holds a scripted network (torch.jit), which does not"},
    ),
    "net.pt, cut": (saved(NET)[:500], {"inspect": "damaged, or was not written by torch.save: name the weights.pt"}),
    "README.md, a text": (
        b"# My notes\n",
        {
            "inspect": "is damaged, or was not written by torch.save: name the weights.pt of a trained source,"
            " or a function that makes the network, as package.module:function.",
            "compare README.md": NO_RECORD,
            "recheck": NO_RECORD,
            "import resnet20-akamaster": "README.md is not resnet20-12fca82f.th of https",
            "import deng2021 --dataset cifar10 --network deng_vgg16 --activation relu": "not written by torch.save.",
            f"{SWEEP} --network digits_plain --plugin": "README.md is not a Python file; name one that regis",
        },
    ),
    "mine.json, a list": (b"[1, 2]", {"recheck": NO_RECORD, "compare mine.json": NO_RECORD}),
    "mine.json, other things": (b'{"job": 1}', {"recheck": NO_RECORD, "compare mine.json": NO_RECORD}),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_of_the_users_is_never_to_be_removed(what, refused, tmp_path):
    content, commands = FOREIGN[what]
    name = what.partition(",")[0]
    (tmp_path / name).write_bytes(content)
    for command, says in commands.items():
        err = refused(f"{command} {name}")
        assert says in err and "remove" not in err


def test_a_damaged_file_of_the_suite_may_be_removed(refused, tmp_path):
    weights, record = tmp_path / "runs/sources/digits/a/b/weights.pt", tmp_path / "runs/records/digits/a.json"
    for path in (weights, record):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"0 0")
    assert "remove it and train the source again" in refused(f"inspect {weights}")
    assert refused(f"recheck {record}").endswith("; remove the file and run its job again.\n")


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_inspecting_a_checkpoint_of_something_else(kind, refused, tmp_path):
    make, says = CHECKPOINTS[kind]
    source = torch.load(put(tmp_path / "runs"), weights_only=True)
    (tmp_path / "checkpoint.pt").write_bytes(saved(make(source)))
    assert says in refused("inspect checkpoint.pt")


def test_a_source_in_the_place_of_another_is_refused_when_it_is_loaded(tmp_path):
    path = put(tmp_path / "runs")
    moved = path.parent.parent / "seed7-digits-01234567-01234567" / "weights.pt"
    moved.parent.mkdir()
    path.rename(moved)
    with pytest.raises(UserError, match=f"move it to {path.relative_to(tmp_path / 'runs')}, and run the same"):
        checkpoints.load_source(moved)


def test_too_little_memory_for_torch_is_one_sentence():
    command = [sys.executable, "-m", "ann2snn", "train", "--dataset", "digits", "--network", "digits_plain"]
    limited = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "bash", *command]
    done = subprocess.run(limited, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("ann2snn: out of memory (") and "`ulimit -v`" in done.stderr
