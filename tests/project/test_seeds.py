"""Every module, fixture and test draws the same random numbers, whatever ran before it."""

import random

import numpy as np
import pytest
import torch
from hypothesis import settings


def draws():
    return random.random(), np.random.rand(2).tolist(), torch.rand(2).tolist()


AT_IMPORT = draws()


@pytest.fixture(scope="module")
def in_a_fixture():
    return draws()


def test_draws_do_not_depend_on_what_ran_before(in_a_fixture):
    assert draws() == in_a_fixture == AT_IMPORT


def test_hypothesis_has_no_time_limit_and_no_memory():
    assert settings.default.deadline is None and settings.default.database is None
