"""The hash of a method's code: what keeps it, and what changes it."""

import shutil
from pathlib import Path

import pytest

import ann2snn.baselines
from ann2snn.methods.registry import discover, find
from ann2snn.methods.source_hash import is_comparable, source_hash

PLUGIN = (
    '"""Old text."""\n\nfrom ann2snn.methods import soft\nfrom helper import g\n\n\ndef f(x):\n    return g(x) + 1\n'
)
HELPER = "def g(x):\n    return x\n"


@pytest.fixture
def plugin(tmp_path):
    """Writes a plug-in and the file beside it that it imports, and returns the plug-in's hash."""

    def write(plugin=PLUGIN, helper=HELPER):
        (tmp_path / "mine.py").write_text(plugin)
        (tmp_path / "helper.py").write_text(helper)
        return source_hash(tmp_path / "mine.py")

    return write


@pytest.mark.parametrize(
    "old, new",
    [
        ("from ann2snn.methods import soft", "from ann2snn import soft"),
        ("from ann2snn.methods import soft\n", ""),
        ("Old text.", "New text."),
        ('"""Old text."""\n', ""),
        ("def f(x):\n", 'def f(x):\n    """Returns more."""\n'),
        ("+ 1", "+ 1  # one more"),
        ("g(x) + 1", "(g(x)\n            + 1)"),
    ],
)
def test_imports_docstrings_comments_and_formatting_keep_the_hash(plugin, old, new):
    before = plugin()
    assert old in PLUGIN and plugin(PLUGIN.replace(old, new)) == before


@pytest.mark.parametrize("old, new", [("+ 1", "+ 2"), ("f(x)", "f(x, y)"), ("x", "z"), ("+ 1", '+ len("text")')])
def test_an_edit_of_code_changes_the_hash(plugin, old, new):
    before = plugin()
    assert plugin(PLUGIN.replace(old, new)) != before


def test_an_edit_of_an_imported_file_changes_the_hash(plugin):
    before = plugin()
    assert plugin(helper=HELPER + "# a comment\n") == before
    assert plugin(helper=HELPER.replace("return x", "return 2 * x")) != before
    plain = PLUGIN.replace("from helper import g\n", "")
    assert plugin(plain) == plugin(plain, helper=HELPER.replace("return x", "return 2 * x"))


@pytest.mark.parametrize("line", ["import helper", "from . import helper", "from .helper import g"])
def test_every_form_of_import_is_followed(plugin, line):
    text = PLUGIN.replace("from helper import g", line)
    assert plugin(text) != plugin(text, helper=HELPER.replace("return x", "return 2 * x"))


def test_imports_are_followed_in_a_circle_and_to_the_end(plugin, tmp_path):
    helper = f"import mine\nimport further\n{HELPER}"
    (tmp_path / "further.py").write_text("A = 1\n")
    before = plugin(helper=helper)
    (tmp_path / "further.py").write_text("A = 2\n")
    assert plugin(helper=helper) != before


def test_a_baseline_depends_on_the_baselines_that_it_imports(tmp_path, monkeypatch):
    copy = tmp_path / "baselines"
    shutil.copytree(Path(ann2snn.baselines.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def hashes():
        return {path.stem: source_hash(path) for path in copy.glob("*.py")}

    class Found:
        submodule_search_locations = [str(copy)]

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Found)
    before, mmse = hashes(), copy / "mmse.py"
    mmse.write_text(mmse.read_text().replace("torch.arange(95", "torch.arange(96"))
    after = hashes()
    assert {name for name in before if before[name] != after[name]} == {"mmse", "ftbc", "snnc_ap", "snnc_lp"}


def test_methods_of_one_file_share_a_hash_and_others_do_not():
    assert find("da_qcfs").source_hash == find("accumulate_then_fire").source_hash
    hashes = {method.source_hash for method in discover().values() if not method.is_plugin}
    assert len(hashes) == len({method.function.__module__ for method in discover().values() if not method.is_plugin})
    assert all(map(is_comparable, hashes)) and not is_comparable("0" * 64) and not is_comparable(None)


def test_the_hash_is_the_same_in_every_version_of_python(tmp_path):
    text = """
@decorator(a=1)
class A(B, metaclass=C):
    x: int = 0x10
    def f(self, *a, b: "T" = None, **k) -> None:
        return f"{a!r:>{b}} {b:{k}.{a}f}{k=}" "text" rf"\\d{a}"
async def g():
    match x:
        case [1, *rest] if (y := 2):
            yield lambda z, /: {**z, 1: ...}
        case {"a": None} | 1.5e3:
            del x[1:2, ...]
"""
    (tmp_path / "mine.py").write_text(text)
    assert source_hash(tmp_path / "mine.py") == "ast:e4c9f1d9557a34698b4301e73d65b6f62d2ac750a986320e585ab8764d8ffd91"


def test_a_method_without_a_file_has_the_hash_of_an_empty_one(tmp_path):
    (tmp_path / "empty.py").write_text("")
    assert source_hash("<stdin>") == source_hash("") == source_hash(tmp_path / "empty.py")
    (tmp_path / "empty.py").write_text("def (")  # edited since it was imported
    assert source_hash(tmp_path / "empty.py") != source_hash("")
