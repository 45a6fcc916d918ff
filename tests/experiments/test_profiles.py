"""Profiles: files of benchmarks/profiles/, whose tables and jobs stay what they were."""

import hashlib
import json
from dataclasses import asdict

import pytest

from ann2snn.errors import UserError
from ann2snn.experiments import profiles

# Of all fields of all tables, from which the job ids follow. Write them again where a profile is meant to change.
DIGESTS = {
    "cifar": "69d0507073a25e3c",
    "digits": "0acfe559b2359d31",
    "imagenet": "cbb3682f12e8db06",
    "matrix": "13e042fc7296be88",
    "paper": "0050bf6e981b447a",
    "quick": "81c245ebc0139230",
}


def digest(tables):
    return hashlib.sha256(json.dumps([asdict(table) for table in tables], sort_keys=True).encode()).hexdigest()[:16]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of further profiles."""
    from ann2snn.benchmarks import profiles as package  # type: ignore

    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(profiles, "PROFILES", {})
    return tmp_path


def test_every_profile_has_its_tables_and_jobs():
    assert {name: digest(tables) for name, tables in profiles.discover().items()} == DIGESTS


def test_a_file_is_a_profile(folder):
    (folder / "mine_of_this_test.py").write_text(
        "from ann2snn.experiments.sweep import Sweep\n"
        "TABLES = (Sweep('mine', 'digits', ('digits_plain',), ('relu',), (0,), (('optimal', {}),), (1, 2)),)\n"
    )
    assert "mine_of_this_test" in profiles.names()
    assert [table.id for table in profiles.find("mine_of_this_test")] == ["mine"]


@pytest.mark.parametrize("text", ["", "TABLES = ()\n", "TABLES = ('digits',)\n"])
def test_a_file_without_tables_is_one_sentence(folder, text):
    name = f"without_tables_{len(text)}"
    (folder / f"{name}.py").write_text(text)
    with pytest.raises(UserError, match=f"The profile {name} declares no tables: write TABLES"):
        profiles.find(name)


def test_an_unknown_profile_is_named_with_the_nearest():
    with pytest.raises(UserError, match="No profile is called 'digit'; the nearest are: digits"):
        profiles.find("digit")
