"""The conventions of the paper's released code: each option against `optimal`, and against its own definition."""

import dataclasses

import pytest
import torch
from nets import dyadic, dyadic_images, one_thread, residual  # noqa: F401
from sources import put

from ann2snn import convert, prepare, simulate
from ann2snn.baselines.deng_code import residual_additions
from ann2snn.calibration.statistics import Statistics
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.experiments import run_job
from ann2snn.experiments import source as sources
from ann2snn.experiments.layer_errors import neurons_by_path, step_outputs
from ann2snn.experiments.sweep import Sweep

T = 8


@pytest.fixture(scope="module")
def ann():
    return prepare(dyadic(residual()), torch.zeros(1, 2, 4, 4))


@pytest.fixture(scope="module")
def stats(ann):
    images = dyadic_images(40)
    return Statistics(ann, lambda: [images])


def by_name(snn):
    return {neuron.name: neuron for neuron in neurons_by_path(snn).values()}


def test_by_default_it_is_optimal(ann, stats):
    images = dyadic_images(12, seed=1)
    ours, theirs = (simulate(convert(ann, name, stats, T), images, T) for name in ("optimal", "deng_code"))
    assert torch.equal(ours.outputs[T], theirs.outputs[T])


def test_shifts(ann, stats):
    plain = by_name(convert(ann, "optimal", stats, T))
    twice = by_name(convert(ann, "deng_code", stats, T, shifts=2))
    left_out = by_name(convert(ann, "deng_code", stats, T, residual_shift=False))
    assert residual_additions(ann) == {"a2"}
    for name, neuron in plain.items():
        assert twice[name].shift == 2 * neuron.shift
        assert left_out[name].shift == (0 if name == "a2" else neuron.shift)


def test_a_fixed_shift_is_what_one_long_run_reads_on_its_way(ann, stats):
    images = dyadic_images(12, seed=1)
    long = simulate(convert(ann, "optimal", stats, 4 * T), images, 4 * T, at=[T])
    short = simulate(convert(ann, "deng_code", stats, T, shift_T=4 * T), images, T)
    assert torch.equal(long.outputs[T], short.outputs[T])
    assert not torch.equal(short.outputs[T], simulate(convert(ann, "optimal", stats, T), images, T).outputs[T])
    for wrong in (0, -4, "x"):
        with pytest.raises(UserError, match="shift_T of deng_code is a whole number of 1 or more"):
            convert(ann, "deng_code", stats, T, shift_T=wrong)


def test_the_spiking_read_out_is_a_neuron_behind_the_last_layer(ann, stats):
    images = dyadic_images(12, seed=1)
    snn = convert(ann, "deng_code", stats, T, readout="spiking")
    result = simulate(snn, images, T)
    v = stats["output"].max
    before, accumulated = torch.zeros(12, 3), convert(ann, "optimal", stats, T)
    m, count = torch.zeros(12, 3), torch.zeros(12, 3)
    for t in range(1, T + 1):
        total = simulate(accumulated, images, T, at=[t]).outputs[t]
        m = m + (total - before) + v / (2 * T)
        before, fired = total, m >= v
        m, count = m - v * fired, count + fired
    assert torch.equal(result.outputs[T], v * count)
    assert result.spikes(T)["output"] == count.sum()
    assert result.predictions(T).tolist() == count.argmax(1).tolist()  # ties go to the lowest class
    assert result.undecided(T) == int(((count == count.amax(1, keepdim=True)).sum(1) > 1).sum()) > 0
    (*_, last) = step_outputs(snn, images, 1)
    assert list(last)[-1] == "spiking_output"


def test_only_these_read_outs(ann, stats):
    with pytest.raises(UserError, match="readout of deng_code is 'accumulated' or 'spiking', not 'spikes'"):
        convert(ann, "deng_code", stats, T, readout="spikes")


def test_a_record_states_read_out_and_calibration(tmp_path):
    """Calibration on augmented images is drawn, and drawn alike every time."""
    digits, trained = load("digits"), put(tmp_path)
    table = Sweep("x", "digits", ("digits_plain",), ("threshold_relu:1",), (0,), (("deng_code", {}),), (4,))
    table = dataclasses.replace(table, methods=(("deng_code", {"readout": "spiking"}),), calibration=64)
    source = sources.SourceANN(digits, trained)
    found = {}
    for transform in ("none", "crop_flip"):
        (job,) = dataclasses.replace(table, calibration_transform=transform).jobs(digits, *next(table.sources()))
        assert (job.readout, job.calibration_transform) == ("spiking", transform)
        record = run_job.run(job, [4], source, tmp_path)
        found[transform] = record["T"]["4"]
        assert found[transform]["spikes"]["output"] > 0 and found[transform]["operations"]["output"] == 0
    assert found["none"]["spikes"] != found["crop_flip"]["spikes"]
    stats = [sources.SourceANN(digits, trained).statistics(64, 0, "crop_flip")[0] for _ in range(2)]
    assert stats[0]["output"].max == stats[1]["output"].max != source.statistics(64, 0)[0]["output"].max
    assert stats[0]["output"].quantile(0.5) == stats[1]["output"].quantile(0.5)
