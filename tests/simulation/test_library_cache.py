"""The compiled library in the user's cache: nothing is loaded that is damaged, wrong, or open to others."""

import ctypes
import os
import random
import shlex
import shutil
import stat
import subprocess

import pytest

from ann2snn import files
from ann2snn.simulation import c_build, c_library

CC = os.environ.get("CC") or "cc"
needs_library = pytest.mark.skipif(c_library.library() is None, reason="no C compiler")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def loads(kept, monkeypatch):
    """What is loaded, in order; "built" where the library is made anew."""
    happened, load, content = [], ctypes.CDLL, next(kept.iterdir()).read_bytes()

    def build(compiler, flags, target):
        happened.append("built")
        target.write_bytes(files.unseal(content)[0])

    monkeypatch.setattr(ctypes, "CDLL", lambda name, *mode: happened.append(name) or load(name, *mode))
    monkeypatch.setattr(c_build, "_build", build)
    return happened


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache with the library in it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        c_library.default_library.cache_clear()
        c_library.library()
    c_library.default_library.cache_clear()
    return folder / "ann2snn"


def other_library(file):
    """Whole and sealed, but it computes something else."""
    source = file.with_name("other.c")
    source.write_text("int run(void *layer) { return 0; }\n")
    subprocess.run([*shlex.split(CC), "-shared", "-fPIC", str(source), "-o", str(file)], check=True)
    source.unlink()
    file.write_bytes(files.seal(file.read_bytes()))


def at_random(content, change):
    place = random.Random(0).randrange(len(content) - 100)
    return change(content, place)


NOT_LOADED = {
    "a bit": lambda file, c: file.write_bytes(at_random(c, lambda c, i: c[:i] + bytes([c[i] ^ 1]) + c[i + 1 :])),
    "cut short": lambda file, c: file.write_bytes(at_random(c, lambda c, i: c[:i])),
    "empty": lambda file, c: file.write_bytes(b""),
    "garbage": lambda file, c: file.write_bytes(b"garbage"),
    "sealed garbage": lambda file, c: file.write_bytes(files.seal(b"garbage")),
    "of an older version": lambda file, c: file.write_bytes(files.unseal(c)[0]),
    "of others": lambda file, c: file.chmod(0o666),
    "a link": lambda file, c: (file.rename(file.with_name("there")), file.symlink_to("there")),
    "another library": lambda file, c: other_library(file),
}


@needs_library
@pytest.mark.parametrize("kind", NOT_LOADED)
def test_a_library_that_is_not_as_it_was_made_is_made_again(kind, kept, fresh, loads, capsys):
    shutil.copytree(kept, fresh / "ann2snn")
    (file,) = (fresh / "ann2snn").iterdir()
    content = file.read_bytes()
    NOT_LOADED[kind](file, content)
    assert c_library.library() is not None and not capsys.readouterr().err
    before = loads[: loads.index("built")]
    assert (str(file) in before) == (kind in ("sealed garbage", "another library"))
    if kind == "another library":  # its name stays taken in this process
        return
    assert file.read_bytes() == content and stat.S_IMODE(file.lstat().st_mode) == 0o600 and not file.is_symlink()


@needs_library
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077, 0o777])
def test_the_cache_is_this_users_alone(umask, fresh):
    before = os.umask(umask)
    try:
        assert c_build._cache_folder() == fresh / "ann2snn"
        files.write_atomic(fresh / "ann2snn" / "file", b"x", mode=0o600)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (fresh / "ann2snn", fresh / "ann2snn" / "file")]
    assert modes == [0o700, 0o600]
    (fresh / "ann2snn").chmod(0o777)
    assert stat.S_IMODE(c_build._cache_folder().stat().st_mode) == 0o700


@needs_library
@needs_root
@pytest.mark.parametrize("what", ["folder", "link", "file"])
def test_nothing_of_another_user_is_loaded(what, kept, fresh, loads):
    """A library that is right and sealed, in a folder that others can write to."""
    fresh.chmod(0o777)
    folder = fresh / "ann2snn"
    if what == "link":
        shutil.copytree(kept, fresh / "there")
        folder.symlink_to("there")
        os.lchown(folder, 1234, 1234)
    else:
        shutil.copytree(kept, folder)
        os.chown(folder if what == "folder" else next(folder.iterdir()), 1234, 1234)
    path = str(folder / next(kept.iterdir()).name)
    assert c_library.library() is not None
    assert path not in loads[: loads.index("built")]
    assert (path in loads) == (what == "file")  # where the folder is ours it is replaced


@needs_library
def test_a_folder_that_is_not_ours_is_left_alone(kept, fresh, loads, monkeypatch, capsys):
    shutil.copytree(kept, fresh / "ann2snn")
    (file,) = (fresh / "ann2snn").iterdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    before = file.stat()
    assert c_library.library() is None and "PyTorch does the same" in capsys.readouterr().err
    assert str(file) not in loads and file.stat() == before
