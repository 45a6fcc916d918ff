"""Wrong files, as a user meets them at the command line: one sentence, exit code 2, and no file is changed."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ann2snn import checkpoints, networks
from ann2snn.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))
from sources import put  # noqa: E402
from test_data import binary_files, imagenet_files, write  # noqa: E402

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
        assert f"{wanted.relative_to(tmp_path)} holds another source than its place says: move it to {place}" in err
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
    net = networks.create("digits_residual", num_classes=10, in_chans=1, activation="relu")
    return source | {"state_dict": net.state_dict()}


def without(name):
    return lambda source: source | {"info": {key: value for key, value in source["info"].items() if key != name}}


CHECKPOINTS = {
    "weights alone": (lambda source: source["state_dict"], "is no source of ann2snn: name a weights.pt that"),
    "of Lightning": (lambda source: {"epoch": 3, "state_dict": source["state_dict"]}, "is no source of ann2snn: name"),
    "other weights": (other_weights, "is no source of ann2snn: its weights are not those of digits_plain; remove"),
    **{f"without {name}": (without(name), "is no source of ann2snn: name") for name in ("dataset", "seed", "network")},
    "an unknown network": (
        lambda source: source | {"info": source["info"] | {"network": "digits_plane"}},
        "checkpoint.pt cannot be built here: No network, here or in timm, is called 'digits_plane'",
    ),
}


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
    with pytest.raises(UserError, match=f"move it to {path.relative_to(tmp_path / 'runs')}, and run this again"):
        checkpoints.load_source(moved)


def test_too_little_memory_for_torch_is_one_sentence():
    command = [sys.executable, "-m", "ann2snn.cli", "train", "--dataset", "digits", "--network", "digits_plain"]
    limited = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "bash", *command]
    done = subprocess.run(limited, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("ann2snn: out of memory (") and "`ulimit -v`" in done.stderr
