"""Clips from 0, in whatever operations they are written: one activation each."""

import math

import pytest
import torch
import torch.nn.functional as F
from nets import Net, one_thread  # noqa: F401
from torch import nn

from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare


def net(function):
    torch.manual_seed(0)
    modules = {"c": nn.Conv2d(2, 3, 3), "d": nn.Conv2d(3, 3, 1)}
    bounds = {"a": nn.Parameter(torch.tensor(0.75)), "b": nn.Parameter(torch.tensor([0.5, 0.75, 1]).reshape(3, 1, 1))}
    return Net(lambda s, x: s.d(function(s, s.c(x))), **modules, **bounds)


def in_place(s, x):
    y = x.clone()
    y[y < 0] = 0
    return y


CLIPS = {  # a function, its bound, and the operation that the activation is named after
    "clamp": (lambda s, x: x.clamp(0, 0.5), 0.5, "clamp"),
    "relu, clamp": (lambda s, x: x.relu().clamp(max=0.5), 0.5, "clamp"),
    "relu, dropout, clamp": (lambda s, x: F.dropout(x.relu(), 0.5, False).clamp(max=0.5), 0.5, "clamp"),
    "clamp, relu": (lambda s, x: x.clamp(max=0.5).relu(), 0.5, "relu"),
    "in place": (lambda s, x: x.relu_().clamp_(max=0.5), 0.5, "clamp"),
    "where": (
        lambda s, x: torch.where(x < 0, torch.zeros_like(x), torch.where(x > 1, torch.ones_like(x), x)),
        1,
        "where",
    ),
    "where with a number": (lambda s, x: torch.where(x > 0, x, 0.0), math.inf, "where"),
    "minimum with a parameter": (lambda s, x: torch.minimum(x.relu(), s.a), 0.75, "minimum"),
    "clamp to a parameter": (lambda s, x: torch.clamp(x.relu(), max=s.a), 0.75, "clamp"),
    "threshold": (lambda s, x: F.threshold(x, 0, 0), math.inf, "threshold"),
    "maximum": (lambda s, x: torch.maximum(x, torch.tensor(0.0)), math.inf, "maximum"),
    "max with zeros": (lambda s, x: torch.max(x, torch.zeros(1)), math.inf, "max"),
    "mask": (lambda s, x: x * (x > 0), math.inf, "mul"),
    "mask of floats": (lambda s, x: x * (x >= 0).float(), math.inf, "mul"),
    "masked_fill": (lambda s, x: x.masked_fill(x < 0, 0), math.inf, "masked_fill"),
    "assignment": (in_place, math.inf, "masked_fill"),
    "absolute value": (lambda s, x: (x + x.abs()) / 2, math.inf, "div"),
    "two relus": (lambda s, x: x.relu() - (x - 0.5).relu(), 0.5, "sub"),
    "scaled": (lambda s, x: F.hardtanh(x / s.a, 0, 1) * s.a, 0.75, "mul"),
    "relu twice": (lambda s, x: x.relu().relu(), math.inf, "relu"),
    "relu6, then a wider clamp": (lambda s, x: F.relu6(x).clamp(0, 6), 6, "relu6"),
    "relu6 of a scaled value": (lambda s, x: F.relu6(6 * x) / 6, 1, "div"),
    "in double precision": (lambda s, x: x.double().relu().clamp(max=0.5).float(), 0.5, "clamp"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_is_one_activation(name):
    function, bound, operation = CLIPS[name]
    made = net(function)
    ann = prepare(made, torch.zeros(1, 2, 5, 5))
    ((where, activation),) = activations(ann).items()
    assert (where, activation.y_th) == (operation, pytest.approx(bound))
    x = 3 * torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ann(x), made(x.clone()))
    assert {row.role for row in ann.meta["report"]} <= {"weights", "spiking", "folded"}


def test_an_activation_that_is_also_read_alone_stays():
    made = net(lambda s, x: x.relu() + x.relu().clamp(max=0.5) + (lambda y: y + y.clamp(max=0.25))(x.relu()))
    found = activations(prepare(made, torch.zeros(1, 2, 5, 5)))
    assert [a.y_th for a in found.values()] == [math.inf, 0.5, math.inf, 0.25]


OWN = "ThresholdReLU.*TCL.*QCFS"
REFUSED = {
    "a bound for each channel": (
        lambda s, x: torch.minimum(x.relu(), s.b),
        f"^minimum: .*differs within the layer.*{OWN}",
    ),
    "QCFS by hand": (lambda s, x: torch.floor(torch.clamp(x / s.a, 0, 1) * 4 + 0.5) / 4 * s.a, "^floor: .*QCFS"),
    "a leaky relu": (lambda s, x: torch.where(x > 0, x, 0.1 * x), f"^gt: .*no part of a clip from 0.*{OWN}"),
    "a negative bound": (lambda s, x: torch.minimum(x.relu(), -s.a), f"^minimum: .*positive constant.*{OWN}"),
    "a jump": (lambda s, x: F.threshold(x, 0.5, 0), f"^threshold: .*no part of a clip from 0.*{OWN}"),
    "a bound from the data": (lambda s, x: torch.minimum(x.relu(), x.mean(1, keepdim=True)), f"^minimum: .*{OWN}"),
    "a maximum over channels": (lambda s, x: x * x.max(1, keepdim=True)[0], "^(max|mul): "),
    "a mask of another tensor": (lambda s, x: x * (x.mean(1, keepdim=True) > 0), f"^gt: .*{OWN}"),
    "a sharp bend far away": (lambda s, x: torch.where(x > 1e6, 2 * x, x.relu()), f"^gt: .*{OWN}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_clip_from_0_is_refused_with_an_alternative(name):
    function, says = REFUSED[name]
    with pytest.raises(UserError, match=says):
        prepare(net(function), torch.zeros(1, 2, 5, 5))
