"""Errors layer by layer, against closed forms and against the simulator."""

import shutil

import pytest
import torch
from sources import put
from torch import nn

from ann2snn import convert, prepare, simulate
from ann2snn.experiments import profiles
from ann2snn.experiments.diagnosis import load_all
from ann2snn.experiments.layer_errors import constant_rate_network, layer_errors, neurons_by_path, step_outputs
from ann2snn.experiments.sweep import Sweep
from ann2snn.leaderboard.pages import paper
from ann2snn.networks.activations import ThresholdReLU

T = 8


@pytest.fixture(scope="module")
def chain():
    """Two layers of threshold ReLUs in float64, their images, and the spiking network without a shift."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), ThresholdReLU(1.0), nn.Conv2d(4, 3, 3), ThresholdReLU(1.0), nn.Flatten())
    net = nn.Sequential(*net, nn.Linear(12, 5)).double().eval()
    images = torch.rand(6, 1, 6, 6, dtype=torch.double) * 3
    ann = prepare(net, images[:1])
    return ann, images, convert(ann, "max_norm", images)


def staircase(z, v, T, start=0.0):
    return v / T * torch.clamp(torch.floor((z * T + start) / v), 0, T)


def test_evenly_timed_is_the_network_quantised_to_T_levels(chain):
    ann, images, snn = chain
    conv1, _, conv2, _, linear = [m for m in ann.children() if not isinstance(m, nn.Flatten)]
    first, second = neurons_by_path(snn).values()
    for made, start in ((snn, 0.0), (convert(ann, "opi", images), 0.5)):
        a = staircase(conv1(images), first.v_th, T, start * first.v_th)
        b = staircase(conv2(a), second.v_th, T, start * second.v_th)
        assert torch.allclose(constant_rate_network(made, T)(images), linear(b.flatten(1)), atol=1e-12)


@pytest.mark.parametrize("method", ["max_norm", "optimal", "opi"])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_steps_are_those_of_the_simulator(chain, method, reset):
    ann, images, _ = chain
    snn = convert(ann, method, images, T, reset=reset)
    result, counts = simulate(snn, images, T), {}
    for step in step_outputs(snn, images, T):
        for place, (_, spikes) in step.items():
            name = neurons_by_path(snn)[place].name
            counts[name] = counts.get(name, 0) + int((spikes > 0).sum())
    assert counts == result.spikes(T)


def test_layers_against_a_loop_over_units(chain):
    ann, images, snn = chain
    first, second = layer_errors(ann, snn, images, T)
    conv1, _, conv2, _, _ = [m for m in ann.children() if not isinstance(m, nn.Flatten)]
    v, w = (n.v_th for n in neurons_by_path(snn).values())
    z = conv1(images)
    a = z.clamp(0, 1)
    assert first.bound == pytest.approx(v.item() ** 2 / (12 * T**2))
    assert first.rounding == first.total == pytest.approx((staircase(z, v, T) - a).square().mean().item())
    assert first.spread == pytest.approx((z / v).std(unbiased=False).item())
    assert first.current == pytest.approx(0, abs=1e-6)  # constant input
    z = conv2(a)
    assert second.rounding == pytest.approx((staircase(z, w, T) - z.clamp(0, 1)).square().mean().item())
    m, n = torch.zeros_like(a), torch.zeros_like(z)
    currents, count = [], torch.zeros_like(z)
    for _ in range(T):
        m = m + conv1(images)
        fired = m >= v
        m = m - v * fired
        currents.append(conv2(v * fired))
        n = n + currents[-1]
        fired = n >= w
        n, count = n - w * fired, count + fired
    assert second.total == pytest.approx((w * count / T - z.clamp(0, 1)).square().mean().item())
    variance = torch.stack(currents).var(0, unbiased=False)
    assert second.current == pytest.approx((variance.mean().sqrt() / w).item())
    assert second.silent == pytest.approx((count == 0).double().mean().item()) and 0 < second.silent < 1
    assert second.saturated == pytest.approx((count == T).double().mean().item())


def test_the_expected_error_of_a_uniform_activation():
    """E(a' - a)^2 = V^2 / (12 T^2) with the shift of Deng & Gu (2021, section 4), V^2 / (3 T^2) without."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(40_000, 1)).double().eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0), net[0].bias.zero_()
    images = torch.linspace(0, 1, 40_000, dtype=torch.double).reshape(1, 1, 200, 200)
    ann = prepare(net, images)
    (with_shift,) = layer_errors(ann, convert(ann, "optimal", images, T), images, T)
    (without,) = layer_errors(ann, convert(ann, "max_norm", images), images, T)
    assert with_shift.rounding == pytest.approx(with_shift.bound, rel=1e-3)
    assert without.rounding == pytest.approx(4 * without.bound, rel=1e-3)


def test_batches_and_the_caller_s_networks(chain):
    ann, images, snn = chain
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    whole, parts = layer_errors(ann, snn, images, T), layer_errors(ann, snn, [images[:4], images[4:]], T)
    assert [vars(x) == pytest.approx(vars(y)) for x, y in zip(whole, parts, strict=True)] == [True, True]
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())


def test_a_table_of_diagnoses_from_the_command_line(ann2snn, monkeypatch):
    put("runs")
    table = Sweep("tiny", "digits", ("digits_plain",), ("threshold_relu:1",), (0,), (("optimal", {}),), (4,))
    layers = paper.Table("layers", "Layers", paper.layer_table, ("tiny",), diagnosed=True)
    monkeypatch.setitem(profiles.PROFILES, "tiny", (table,))
    monkeypatch.setattr(paper, "TABLES", (layers,))
    monkeypatch.setattr(paper, "TABLE", {"layers": layers})
    line = "reproduce --profile tiny --only layers --wandb off --device cpu"
    code, out, err = ann2snn(line)
    assert code == 0 and "## Layers [layers]" in out and "digits_plain threshold_relu:1 (digits), T = 16" in out, err
    (found,) = load_all("runs")
    assert list(found["T"]) == ["4", "8", "16", "32"] and found["images"] == 360 and found["inside"] == 200
    ann2snn(line)
    assert load_all("runs") == [found]  # not made again
    how = "--dataset digits --network digits_plain --wandb off --device cpu"
    code, out, err = ann2snn(f"diagnose {how} --T 4 --images 20")
    assert code == 0 and "Accuracy on 20 test images" in out and "is kept: it has T = 4, 8, 16, 32 and 360" in err
    assert load_all("runs") == [found]
    shutil.rmtree("runs/diagnosis")
    ann2snn(f"diagnose {how} --T 2 4 --images 20")
    assert [list(d["T"]) for d in load_all("runs")] == [["2", "4"]]
    ann2snn(line)  # a smaller one, or one at other T's, will not do
    assert [(list(d["T"]), d["images"]) for d in load_all("runs")] == [(["4", "8", "16", "32"], 360)]


def test_diagnose_from_the_command_line(ann2snn):
    put("runs")
    line = "diagnose --dataset digits --network digits_plain --T 2 4 --images 100 --wandb off --device cpu"
    code, out, err = ann2snn(line)
    assert code == 0 and "Layers at T = 4, 100 images" in out, err
    assert max(len(row) for row in out.splitlines()[:-1]) <= 80
    (found,) = load_all("runs")
    assert found["ann"] * 100 == round(found["ann"] * 100) and found["T"]["2"]["layers"][0]["current"] == 0
