import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ann2snn.conversion.neurons import IF, hard, soft
from ann2snn.errors import UserError

powers = st.sampled_from([1 / 4, 1 / 2, 1.0, 2.0, 4.0])
dyadic = st.integers(-256, 256).map(lambda k: k / 64)


def rates(neuron, x, T):
    """The mean output of a neuron over T steps of the constant current x."""
    return neuron.run(x.expand(T, *x.shape)).sum(0) / T


def staircase(x, v, T, half):
    return torch.clamp(torch.floor(x * T / v + half), 0, T) * v / T


@given(st.lists(dyadic, min_size=1, max_size=8), powers, st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_constant_current_gives_the_staircase(x, v, T):
    x = torch.tensor(x)
    assert torch.equal(rates(IF(v), x, T), staircase(x, v, T, 0))
    assert torch.equal(rates(IF(v, shift=v / (2 * T)), x, T), staircase(x, v, T, 0.5))
    assert torch.equal(rates(IF(v, v_init=v / 2), x, T), staircase(x, v, T, 0.5))


@given(st.lists(dyadic, min_size=1, max_size=8), powers, st.integers(1, 40))
def test_spike_counts_of_any_T(x, v, T):
    counts = (IF(v).run(torch.tensor(x).expand(T, len(x))) > 0).sum(0)
    assert counts.tolist() == [min(max(math.floor(value * T / v), 0), T) for value in x]


# measured on 200,000 random values: mean squared error, and the share that equals the round quantiser
@pytest.mark.parametrize(
    "neuron, error, equal",
    [
        (IF(1.0), 0.004341, 0.5839),
        (IF(1.0, shift=1 / 16), 0.001086, 1.0),
        (IF(1.0, v_init=1 / 2), 0.001086, 1.0),
        (IF(1.0, shift=1 / 64), 0.002919, 0.6880),  # the shift of T = 32, read at T = 8
        (IF(1.0, hard), 0.040136, 0.3752),
    ],
    ids=["plain", "shift", "half start", "shift of another T", "hard"],
)
def test_golden_errors(neuron, error, equal):
    x = torch.rand(200_000, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    rate = rates(neuron, x, 8)
    assert (rate - x.clamp(0, 1)).square().mean().item() == pytest.approx(error, rel=0.01)
    assert (rate == staircase(x, 1, 8, 0.5)).float().mean().item() == pytest.approx(equal, abs=0.004)


def even(low, high, n=24_000):
    """The midpoints of n equal cells."""
    return low + (high - low) * (torch.arange(n, dtype=torch.double) + 0.5) / n


def test_closed_forms_of_the_golden_errors():
    x = even(-0.1, 1.1)
    for neuron, error in ((IF(1.0), 1 / (3 * 8**2)), (IF(1.0, shift=1 / 16), 1 / (12 * 8**2))):
        square = (rates(neuron.double(), x, 8) - x.clamp(0, 1)).square().mean().item()
        assert square == pytest.approx(error / 1.2, rel=1e-6)


@pytest.mark.parametrize("v, T, T_ref", [(1.0, 8, 2), (2.0, 4, 8), (0.5, 16, 16), (3.0, 5, 3)])
def test_theorem(v, T, T_ref):
    """Mean squared error V^2/3T^2 without shift, V^2/12T^2 with V/(2T) less the shift of the source's training."""
    plain, optimal, trained = v**2 / (3 * T**2), v**2 / (12 * T**2), v / (2 * T_ref)

    def error(shift, source_shift=0.0):
        x = even(source_shift, v + source_shift)
        neuron = IF(torch.tensor(v).double(), shift=torch.tensor(shift).double())
        return (rates(neuron, x, T) - (x - source_shift)).square().mean().item()

    assert error(0.0) == pytest.approx(plain, rel=1e-4)
    assert error(v / (2 * T)) == pytest.approx(optimal, rel=1e-4)
    assert error(v / (2 * T) - trained, trained) == pytest.approx(optimal, rel=1e-4)
    assert error(v / (2 * T), trained) > 1.5 * optimal


@given(st.integers(0, 2**31), powers, dyadic, dyadic, st.sampled_from([soft, hard]))
def test_conservation(seed, v, shift, start, reset):
    """What is emitted is what came in, less what stays; hard reset also loses what exceeds the threshold."""
    currents = torch.randint(-128, 129, (12, 2, 3), generator=torch.Generator().manual_seed(seed)) / 64
    neuron = IF(v, reset, shift=shift, v_init=start)
    m, lost = neuron.init(currents[0]), 0
    emitted = torch.zeros(2, 3)
    for current in currents:
        before = m + current + shift
        m, spikes = neuron.step(m, current)
        emitted += spikes
        lost = lost + (before - v) * (spikes > 0)
    kept = currents.sum(0) + 12 * shift + start - m
    assert torch.equal(emitted, kept if reset is soft else kept - lost)


@pytest.mark.parametrize(
    "reset, x, train, membrane",
    [
        (soft, 3 / 8, [0, 0, 1, 0, 0, 1, 0, 1], 0),
        (hard, 3 / 8, [0, 0, 1, 0, 0, 1, 0, 0], 3 / 4),
        (soft, 1 / 2, [0, 1, 0, 1], 0),  # a membrane on the threshold fires
        (hard, 1 / 2, [0, 1, 0, 1], 0),
        (soft, 1.0, [1, 1, 1, 1], 0),
        (soft, 3 / 2, [1, 1, 1, 1], 2),  # at most one spike a step
        (hard, 3 / 2, [1, 1, 1, 1], 0),
        (soft, -1.0, [0, 0], -2),  # no floor
    ],
)
def test_truth_table(reset, x, train, membrane):
    neuron, m, spikes = IF(1.0, reset), torch.zeros(1), []
    for _ in train:
        m, s = neuron.step(m, torch.tensor([x]))
        spikes.append(s.item())
    assert spikes == train and m.item() == membrane


def test_thresholds_of_channels_broadcast():
    v, x = torch.tensor([1.0, 2.0, 4.0]), torch.ones(2, 3, 4, 5)
    spikes = IF(v.reshape(3, 1, 1)).run(x.expand(4, *x.shape))
    for channel, train in enumerate([[1, 1, 1, 1], [0, 2, 0, 2], [0, 0, 0, 4]]):
        assert torch.equal(spikes[:, :, channel], torch.tensor(train).float()[:, None, None, None].expand(4, 2, 4, 5))
    assert torch.equal(IF(v).run(x[:, :, 0, 0].expand(4, 2, 3)), spikes[..., 0, 0])


@given(st.integers(0, 2**31), st.sampled_from([soft, hard]))
def test_run_is_the_loop_over_step(seed, reset):
    currents = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(seed))
    neuron = IF(torch.tensor([0.5, 1.0, 2.0]), reset, shift=0.1, v_init=0.3)
    m, spikes = neuron.init(currents[0]), []
    for current in currents:
        m, s = neuron.step(m, current)
        spikes.append(s)
    assert torch.equal(neuron.run(currents), torch.stack(spikes))


@pytest.mark.parametrize("v", [0.0, -1.0, math.nan, math.inf, torch.tensor([1.0, 0.0])], ids=str)
def test_impossible_thresholds(v):
    with pytest.raises(UserError, match="threshold.*must be positive and finite"):
        IF(v)


def test_a_neuron_moves_and_says_what_it_is():
    neuron = IF(torch.tensor([1.0, 2.0]), hard, shift=0.25)
    assert repr(neuron) == "IF(v_th=1..2, reset=hard)"
    assert {value.dtype for value in neuron.double().state_dict().values()} == {torch.double}
