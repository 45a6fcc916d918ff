"""The activations of source networks."""

import pytest
import torch

from ann2snn import activations
from ann2snn.activations import ThresholdReLU
from ann2snn.errors import UserError

X = torch.tensor([-1.0, -0.25, 0.0, 0.25, 0.5, 1.0, 1.25, 2.0, 3.0])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_threshold_relu_clips_and_lets_gradients_through_between_its_edges(training, dtype, shift):
    x = X.clone().to(dtype).requires_grad_()
    y = ThresholdReLU(1.0, shift).train(training)(x)
    y.backward(torch.arange(1.0, 10).to(dtype))
    assert y.tolist() == [min(max(v - shift, 0), 1) for v in X.tolist()]
    slope = x.grad / torch.arange(1.0, 10).to(dtype)
    inside = (x - shift > 0) & (x - shift < 1)
    edge = (x == shift) | (x - shift == 1)
    assert slope[inside & ~edge].unique() == 1
    assert not slope[~inside & ~edge].any()


def test_the_fast_gradient_is_that_of_clamp_and_keeps_the_layout_of_its_input():
    x = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    grad = torch.randn(4, 3, 1, 1).expand(4, 3, 5, 5)  # as an average pool gives it
    (fast,) = torch.autograd.grad(ThresholdReLU(0.5).train()(x), x, grad)
    (slow,) = torch.autograd.grad(torch.clamp(x, 0, 0.5), x, grad)
    assert torch.equal(fast, slow)
    assert fast.is_contiguous(memory_format=torch.channels_last)


def test_an_infinite_threshold_is_the_relu():
    assert torch.equal(ThresholdReLU(float("inf")).train()(X), torch.relu(X))


@pytest.mark.parametrize("spec", ["threshold_relu", "threshold_relu:one", "gelu"])
def test_an_unknown_activation_is_named(spec):
    with pytest.raises(UserError, match=f"No activation is called {spec!r}"):
        activations.make(spec)


def test_a_threshold_must_be_positive():
    with pytest.raises(UserError, match="must be positive, not 0.0"):
        activations.make("threshold_relu:0")()
