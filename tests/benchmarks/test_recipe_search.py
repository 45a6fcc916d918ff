"""The search for a recipe without batch norm."""

import dataclasses
from argparse import Namespace

import pytest

from ann2snn.benchmarks.studies import recipe_search
from ann2snn.data.registry import load
from ann2snn.training import checkpoints, lightning_module
from ann2snn.training.recipes import RECIPES

BN_FREE, FIRST = RECIPES["bn_free"], next(iter(recipe_search.FACTORS))


def test_a_squeezed_recipe_has_the_same_schedule():
    short = recipe_search.squeezed(BN_FREE, 1)
    assert (short.name, short.epochs) == ("squeezed1", 1) and short.key != BN_FREE.key
    assert [short.lr_factor(step, 70) for step in (0, 9, 10, 40, 69)] == pytest.approx(
        [BN_FREE.lr_factor(step, 10) for step in (0, 9, 10, 40, 69)]
    )


@pytest.mark.parametrize("epochs, name", [(1, "squeezed1"), (2, "bn_free")])
def test_candidates_are_ranked_by_validation_and_the_search_resumes(tmp_path, monkeypatch, epochs, name):
    """With the recipe's own epochs, what was found is what `bn_free` would train."""
    digits = load("digits")
    few = dataclasses.replace(digits, train=digits.train.subset(range(64)), test=None)
    monkeypatch.setattr(recipe_search, "load", lambda *args, **kwargs: few)
    base = dataclasses.replace(BN_FREE, epochs=2, precision="32-true")
    monkeypatch.setattr(recipe_search, "FIRST", base)
    how = {"dataset": "digits", "network": "digits_plain", "activation": "relu", "epochs": epochs, "device": "cpu"}
    options = Namespace(**how, root=tmp_path, factor=[FIRST, "batch 64"], data_root=None, accept_unofficial_data=0)
    first = recipe_search.candidates(options)
    assert [line.split("  ")[0] for line in first.splitlines()[2:]] == [FIRST, "batch 64"]
    accuracies = [float(line.split()[-2]) for line in first.splitlines()[2:]]
    assert all(0 <= accuracy <= 100 for accuracy in accuracies)
    monkeypatch.setattr(lightning_module, "fit", None)  # what is trained is not trained again
    assert recipe_search.candidates(options) == first and RECIPES["bn_free"] is BN_FREE

    found = {path.parent.name.split("-")[1] for path in tmp_path.rglob("weights.pt")}
    assert found == {name}
    winner = dataclasses.replace(recipe_search.squeezed(base, epochs), batch_size=64)
    monkeypatch.setitem(RECIPES, name, winner)
    assert checkpoints.weights_file(few, "digits_plain", "relu", 0, tmp_path, name).exists()
