"""Files that are written whole or not at all, locks, seals; and what becomes of damaged ones."""

import os
import random
import signal
import threading
from pathlib import Path

import pytest
import torch
from sources import put

from ann2snn import files
from ann2snn.errors import StorageError, UserError
from ann2snn.records import store
from ann2snn.training import checkpoints


def in_a_child(function) -> int:
    """The exit status of a forked process that calls `function`; negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_writing(path):
    def write():
        os.replace = die
        files.write_atomic(path, "half")

    assert in_a_child(write) == -signal.SIGKILL


@pytest.mark.parametrize("function", [lambda path: files.write_atomic(path, "whole"), files.remove])
def test_what_a_killed_write_leaves_is_removed_by_the_next(function, tmp_path):
    path, others = tmp_path / "a.json", [tmp_path / ".b.json.1.tmp", tmp_path / "a.json.1.tmp"]
    for other in others:
        other.write_text("of someone else")
    killed_writing(path)
    (leftover,) = set(tmp_path.iterdir()) - set(others)
    assert leftover.name.startswith(".a.json.") and leftover.name.endswith(".tmp") and not path.exists()
    function(path)
    assert set(tmp_path.iterdir()) - {path} == set(others)
    assert not path.exists() or path.read_text() == "whole"


def test_the_temporary_file_of_a_living_process_stays(tmp_path, monkeypatch):
    """In the middle of a write another process writes the same file."""
    path, replace = tmp_path / "file", os.replace

    def meanwhile(*names):
        monkeypatch.setattr(os, "replace", replace)
        assert in_a_child(lambda: files.write_atomic(path, "theirs")) == 0
        assert path.read_text() == "theirs" and Path(names[0]).exists()
        replace(*names)

    monkeypatch.setattr(os, "replace", meanwhile)
    files.write_atomic(path, "ours")
    assert path.read_text() == "ours" and list(tmp_path.iterdir()) == [path]


def test_threads_may_write_one_file(tmp_path):
    contents = [str(i) * 1000 for i in range(8)]
    threads = [threading.Thread(target=files.write_atomic, args=(tmp_path / "file", text)) for text in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_text() in contents and len(list(tmp_path.iterdir())) == 1


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to("theirs")
    with pytest.raises(StorageError):
        files.write_atomic(tmp_path / "file", "ours")
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_one_process_is_inside_and_a_dead_one_lets_the_next_in(tmp_path):
    lock, waited = tmp_path / "folder" / ".lock", []

    def killed_inside():
        with files.exclusive_lock(lock, lambda: None):
            die()

    assert in_a_child(killed_inside) == -signal.SIGKILL and lock.exists()
    with files.exclusive_lock(lock, lambda: waited.append("a dead one")):
        ready, release = threading.Event(), threading.Event()

        def second():
            with files.exclusive_lock(lock, ready.set):
                release.wait(60)
                waited.append("second")

        thread = threading.Thread(target=second)
        thread.start()
        assert ready.wait(60) and not waited
        waited.append("first")
        release.set()
    thread.join()
    assert waited == ["first", "second"] and not lock.exists()


def test_a_seal_shows_every_flipped_bit_and_every_cut(tmp_path):
    content = random.Random(0).randbytes(300)
    sealed = files.seal(content)
    assert files.unseal(sealed) == (content, True) and files.unseal(content) == (content, False)
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            try:
                found, is_sealed = files.unseal(bytes(changed))
            except ValueError:
                continue
            assert not is_sealed and found == changed and found[:300] == content
        assert not files.unseal(sealed[:place])[1]


def test_weights_without_a_seal_are_read_and_their_checksums_verified(tmp_path):
    """As older versions wrote them; the committed ones are such files."""
    path = put(tmp_path / "runs")
    content, sealed = files.unseal(path.read_bytes())
    assert sealed
    path.write_bytes(content)
    info = checkpoints.load_source(path)[1]
    place = content.index(b"training_seconds")
    path.write_bytes(content[:place] + b"X" + content[place + 1 :])
    with pytest.raises(UserError, match="is damaged"):
        checkpoints.load_source(path)
    path.write_bytes(files.seal(content))
    assert checkpoints.load_source(path)[1] == info


def test_publish_verifies_weights(ann2snn, make_record, tmp_path):
    paths = [put(tmp_path / "runs", seed=seed) for seed in range(3)]
    infos = [checkpoints.load_source(path)[1] for path in paths]
    for info in infos:
        names = ("dataset", "data_hash", "network", "activation", "recipe", "seed")
        record = make_record(weights=info["weights_hash"], **{name: info[name] for name in names})
        store.save(record, tmp_path / "runs")
    whole, tampered, damaged = paths
    held = checkpoints.load_tensors(tampered.read_bytes())
    next(iter(held["state_dict"].values())).view(-1)[0] += 1
    torch.save(held, tampered)
    damaged.write_bytes(damaged.read_bytes()[:-200])
    code, _, err = ann2snn("publish --uncommitted")
    assert code == 0 and [path.read_bytes() for path in Path("results").rglob("*.pt")] == [whole.read_bytes()]
    lines = [line for line in err.splitlines() if line.startswith("Weights left out: ")]
    assert len(lines) == 2
    assert f"{tampered.relative_to(tmp_path)} has other weights than its hash says" in lines[0]
    assert f"{damaged.relative_to(tmp_path)} is damaged" in lines[1]
    (copy,) = Path("results").rglob("*.pt")
    copy.write_bytes(copy.read_bytes()[:-200])
    code, _, err = ann2snn("publish --uncommitted")
    assert code == 0 and f"Weights published before: {copy} is damaged" in err
