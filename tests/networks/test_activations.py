"""The activations of source networks."""

import math

import pytest
import torch
from nets import dyadic, dyadic_images, random
from torch import nn

import ann2snn
from ann2snn.calibration.statistics import Statistics
from ann2snn.data.registry import load
from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.methods.registry import discover, find
from ann2snn.networks.activations import QCFS, TCL, ThresholdReLU, make
from ann2snn.networks.registry import create
from ann2snn.training import checkpoints
from ann2snn.training.source_info import source_info

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


@pytest.mark.parametrize(
    "spec",
    ["threshold_relu", "threshold_relu:one", "threshold_relu:1:", "gelu", "relu:1", "qcfs", "qcfs:2.5", "qcfs:"]
    + [
        "qcfs:4:up",
        "qcfs:4:round",
        "qcfs:4:",
        "tcl:4",
        "slip_relu",
        "slip_relu:4",
        "slip_relu:4:x",
        "slip_relu:4:0.5:1",
    ],
)
def test_an_unknown_activation_is_named(spec):
    with pytest.raises(UserError, match=f"No activation is called {spec!r}"):
        make(spec)


def test_a_threshold_must_be_positive():
    with pytest.raises(UserError, match="must be positive, not 0.0"):
        make("threshold_relu:0")()


ROUNDED = {"round": lambda x: math.floor(x + 0.5), "floor": math.floor, "ceil": math.ceil}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("L", [1, 4, 8])
@pytest.mark.parametrize("y_th", [0.5, 2.0])
@pytest.mark.parametrize("rounding", ROUNDED)
def test_qcfs_is_its_equation(training, L, y_th, rounding):
    x = torch.arange(-64, 193) / 64
    y = QCFS(L, y_th, rounding=rounding).train(training)(x)
    assert y.tolist() == [y_th * min(max(ROUNDED[rounding](v * L / y_th) / L, 0), 1) for v in x.tolist()]


def test_qcfs_rounds_to_the_nearest_step_unless_its_name_says_otherwise():
    x = torch.arange(-64, 193) / 64
    for spec, rounding in {"qcfs:4": "round", "qcfs:4:floor": "floor", "qcfs:4:ceil": "ceil"}.items():
        made = make(spec)()
        assert (made.kind, made.L, made.rounding, made.y_th.item()) == ("qcfs", 4, rounding, 8)
        assert torch.equal(made(x), QCFS(4, rounding=rounding)(x))


@pytest.mark.parametrize("training", [True, False])
def test_tcl_is_the_threshold_relu_with_a_trained_threshold(training):
    tcl, y_th = make("tcl")(inplace=True).train(training), 2.0
    assert (tcl.kind, tcl.y_th.item()) == ("tcl", 4)
    torch.nn.init.constant_(tcl.y_th, y_th)
    x = ((torch.arange(-64, 193) + 0.5) / 64).requires_grad_()  # on no edge
    y, grad = tcl(x), torch.linspace(1, 2, len(x))
    y.backward(grad)
    assert torch.equal(y, ThresholdReLU(y_th)(x))
    assert torch.equal(x.grad, grad * ((x > 0) & (x < y_th)))
    torch.testing.assert_close(tcl.y_th.grad, grad[x > y_th].sum())
    assert (x > y_th).any()


@pytest.mark.parametrize("a", [0.0, 0.25, 1.0])
def test_slip_relu_lies_between_the_clip_and_the_stairs(a):
    y_th, slip = 2.0, make(f"slip_relu:4:{a}")()
    assert (slip.kind, slip.L, slip.a, slip.y_th.item()) == ("slip_relu", 4, a, 8)
    torch.nn.init.constant_(slip.y_th, y_th)
    x = ((torch.arange(-64, 193) + 0.5) / 64).requires_grad_()
    y, grad = slip(x), torch.linspace(1, 2, len(x))
    assert torch.equal(y, a * ThresholdReLU(y_th)(x) + (1 - a) * QCFS(4, y_th)(x))
    y.backward(grad)
    inside = (x > 0) & (x < y_th)
    torch.testing.assert_close(x.grad, grad * inside)
    torch.testing.assert_close(slip.y_th.grad, (grad * torch.where(inside, (y - x) / y_th, x > 0).detach()).sum())


def test_the_share_of_the_clip_is_a_share():
    with pytest.raises(UserError, match="share of the clip in a SlipReLU lies in \\[0, 1\\]; 1.5 does not"):
        make("slip_relu:4:1.5")()


def test_qcfs_at_infinity_is_the_threshold_relu():
    assert torch.equal(QCFS(math.inf, 2.0)(X), ThresholdReLU(2.0)(X))


@pytest.mark.parametrize("rounding", ROUNDED)
def test_gradients_of_qcfs_go_straight_through_the_floor(rounding):
    y_th = 2.0
    qcfs = QCFS(4, y_th, rounding=rounding).train()
    x = (torch.arange(-64, 193) / 64 + 1 / 128).requires_grad_()  # on no edge
    y = qcfs(x)
    slope = (x > 0) & (x < y_th)
    of_y_th = torch.where(slope, (y - x) / y_th, x > 0).detach()
    grad = torch.linspace(1, 2, len(x))
    y.backward(grad)
    assert torch.equal(x.grad, grad * slope)
    torch.testing.assert_close(qcfs.y_th.grad, (grad * of_y_th).sum())
    assert slope.any() and (x > y_th).any() and (x < 0).any()


def test_qcfs_takes_whole_steps():
    assert isinstance(make("qcfs:4")(inplace=True), QCFS)
    with pytest.raises(UserError, match="number of steps of a QCFS must be 1 or more, not 0"):
        make("qcfs:0")()


@pytest.fixture
def stairs():
    """A dyadic network with QCFS, prepared, with images that reach its threshold."""
    layers = [nn.Conv2d(2, 3, 3, padding=1), QCFS(4, 1.0), nn.Flatten(), nn.Linear(48, 3)]
    net = dyadic(nn.Sequential(*layers))
    nn.init.ones_(net[1].y_th)
    images = dyadic_images(20)
    return ann2snn.prepare(net, images), images


@pytest.mark.parametrize("method", ["optimal", "opi"])
def test_a_converted_qcfs_layer_fires_its_value_in_L_steps(stairs, method):
    ann, images = stairs
    stats = Statistics(ann, lambda: [images])
    assert stats["1"].max == activations(ann)["1"].y_th == 1
    snn = find(method)(ann, stats, 4)
    assert torch.equal(ann2snn.simulate(snn, images, 4).outputs[4] / 4, ann(images))


ELSEWHERE = {  # methods that do not come near the stairs, and why
    "srp": "it silences what ends its first stage at 0 exactly, which is common where all is dyadic",
    "spike_norm": "its thresholds are the largest inputs, which nothing clips",
    "rmp": "as spike_norm",
}


@pytest.mark.parametrize(
    "method", sorted({name for name, method in discover().items() if method.applies("qcfs:4")} - set(ELSEWHERE))
)
def test_every_method_converts_qcfs(stairs, method):
    ann, images = stairs
    snn = ann2snn.convert(ann, method, images, T=64)
    found = ann2snn.simulate(snn, images, 64).mean(64)
    assert torch.nn.functional.mse_loss(found, ann(images)) < 0.05 * ann(images).var()


@pytest.mark.parametrize(
    "spec, kind, note",
    [
        ("qcfs:4", "qcfs", "y_th=1.25, L=4"),
        ("qcfs:4:ceil", "qcfs", "y_th=1.25, L=4, ceil"),
        ("tcl", "tcl", "y_th=1.25"),
        ("slip_relu:4:0.5", "slip_relu", "y_th=1.25, L=4, a=0.5"),
    ],
)
def test_a_network_is_prepared_with_the_trained_thresholds_of_its_layers(spec, kind, note):
    net = random(create("digits_residual", num_classes=10, in_chans=1, activation=spec)).double()
    thresholds = [m.y_th for m in net.modules() if isinstance(m, TCL)]
    for i, y_th in enumerate(thresholds):
        nn.init.constant_(y_th, 1 + i / 4)
    images = torch.randn(5, 1, 8, 8, dtype=torch.double)
    ann = ann2snn.prepare(net, images)
    torch.testing.assert_close(ann(images), net(images))
    found = activations(ann).values()
    assert [m.y_th.item() for m in found] == [1, 1.25, 1.5, 1.75, 2] and {m.kind for m in found} == {kind}
    rows = [row for row in ann.meta["report"] if row.role == "spiking"]
    assert (rows[1].operation, rows[1].note) == (kind, note)


def test_stairs_are_prepared_where_rounding_decides():
    conv, norm = nn.Conv2d(1, 256, 1), nn.BatchNorm2d(256)
    net = random(nn.Sequential(conv, norm, QCFS(4, 1.0), nn.Flatten(), nn.Linear(256, 1)))
    nn.init.zeros_(conv.weight)
    nn.init.ones_(net[4].weight)
    nn.init.ones_(net[2].y_th)
    image = torch.zeros(1, 1, 1, 1)
    norm.bias.data += 1 / 8 - norm(conv(image)).flatten()  # where the first step is
    ann = ann2snn.prepare(net, image)
    assert abs(net(image) - ann(image)) >= 1 / 4  # the stairs are back


def test_a_source_with_qcfs_round_trips(tmp_path):
    info = source_info(load("digits"), "digits_plain", "qcfs:2", 0)
    net = checkpoints.untrained_network(info, seed=0)
    for module in net.modules():
        if isinstance(module, QCFS):
            nn.init.uniform_(module.y_th, 1, 2)
    checkpoints.save_source(net, info, tmp_path / "weights.pt")
    found, _ = checkpoints.load_source(tmp_path / "weights.pt")
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(found(x), net.eval()(x))
    assert checkpoints.weights_hash(found) == checkpoints.weights_hash(net)
    assert all(isinstance(m.L, int) and m.L == 2 for m in found.modules() if isinstance(m, QCFS))


@pytest.mark.parametrize("network", ["digits_plain", "digits_residual"])
@pytest.mark.parametrize("spec, start", [("qcfs:4", 8), ("tcl", 4), ("slip_relu:4:0.5", 8)])
def test_thresholds_are_trained(network, spec, start):
    torch.manual_seed(0)
    net = create(network, num_classes=10, in_chans=1, activation=spec).train()
    thresholds = [m.y_th for m in net.modules() if isinstance(m, TCL)]
    assert {y_th.item() for y_th in thresholds} == {start}
    for y_th in thresholds:
        torch.nn.init.constant_(y_th, start / 8)  # where some values lie above
    torch.nn.functional.cross_entropy(net(4 * torch.rand(8, 1, 8, 8)), torch.arange(8)).backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())
