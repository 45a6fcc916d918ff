import copy
import logging
import pickle
from threading import Lock

import pytest
import torch
import torch.nn.functional as F
from nets import Net, one_thread, random, residual  # noqa: F401
from torch import nn

from ann2snn.conversion.neurons import IF
from ann2snn.conversion.surgery import replace_activations
from ann2snn.errors import UserError
from ann2snn.graph.modules import Affine, MaxPool
from ann2snn.graph.network import activations
from ann2snn.graph.operations import LINEAR
from ann2snn.graph.prepare import prepare
from ann2snn.graph.report import NotConvertible
from ann2snn.methods.convert import convert
from ann2snn.networks.activations import QCFS, TCL, ThresholdReLU
from ann2snn.simulation.simulate import simulate

SHAPE = (3, 9, 7)


def conv(outputs=4, inputs=3, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, **({"padding": size // 2} | options))


def sequence(*modules):
    return lambda: copy.deepcopy(nn.Sequential(*modules))


def build(forward, **modules):
    return lambda: copy.deepcopy(Net(forward, **modules))


def in_regions(s, x):
    with torch.no_grad():
        y = s.b(s.c(x))
        with torch.enable_grad():
            z = F.relu(y)
    return y + z


# a network, and its report: the name of every node and its role
NETS = {
    "groups, dilation": (
        sequence(conv(6, groups=3), nn.ReLU(), conv(6, 6, dilation=2, groups=2, stride=2), nn.ReLU()),
        "0:w 1:s 2:w 3:s",
    ),
    "groups, dilation, batch norm": (
        sequence(
            conv(6, groups=3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            conv(6, 6, dilation=2, groups=2, stride=2, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        ),
        "0:w 1:f 2:s 3:w 4:f 5:s",
    ),
    "padding same": (sequence(conv(padding="same", dilation=2), nn.ReLU()), "0:w 1:s"),
    "padding same, even kernel": (sequence(conv(size=4, padding="same"), nn.ReLU()), "0:w 1:s"),
    "padding valid": (sequence(conv(padding="valid"), nn.ReLU()), "0:w 1:s"),
    "padding by side": (sequence(nn.ZeroPad2d((2, 0, 1, 0)), conv(padding=(0, 1)), nn.ReLU()), "0:l 1:w 2:s"),
    "padding reflect": (sequence(conv(padding_mode="reflect"), nn.ReLU()), "0:l 0:w 1:s"),
    "padding circular": (sequence(conv(padding=(2, 1), padding_mode="circular"), nn.ReLU()), "0:l 0:w 1:s"),
    "functional": (
        build(lambda s, x: F.relu(F.conv2d(x, s.c.weight) + F.conv2d(x, s.c.weight, None, (1, 1))), c=conv()),
        "conv2d:w conv2d@1:w add:l relu:s",
    ),
    "linear": (sequence(nn.Flatten(), nn.Linear(189, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)), "0:l 1:w 2:s 3:w"),
    "linear over positions": (sequence(nn.Linear(7, 5), nn.ReLU()), "0:w 1:s"),
    "bn after conv": (
        sequence(
            conv(), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 4, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU()
        ),
        "0:w 1:f 2:s 3:w 4:f 5:s",
    ),
    "bn after linear": (
        sequence(
            nn.Flatten(),
            nn.Linear(189, 5),
            nn.BatchNorm1d(5),
            nn.ReLU(),
            nn.Linear(5, 4, bias=False),
            nn.BatchNorm1d(4, affine=False),
            nn.ReLU(),
        ),
        "0:l 1:w 2:f 3:s 4:w 5:f 6:s",
    ),
    "one conv before two bn": (
        build(lambda s, x: F.relu(s.b1(s.c(x)) + s.b2(s.c(x))), c=conv(), b1=nn.BatchNorm2d(4), b2=nn.BatchNorm2d(4)),
        "c:w b1:f c@1:w b2:f add:l relu:s",
    ),
    "bn that cannot fold": (
        sequence(nn.BatchNorm2d(3), nn.ReLU(), conv(), nn.AvgPool2d(2), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
        "0:a 1:s 2:w 3:l 4:a 5:s",
    ),
    "bn of a tensor used twice": (
        build(lambda s, x: (lambda y: F.relu(s.b(y) + y))(s.c(x)), c=conv(), b=nn.BatchNorm2d(4)),
        "c:w b:a add:l relu:s",
    ),
    "bn of a copy": (
        build(lambda s, x: (lambda y: F.relu(s.b(y.clone()) + y))(s.c(x)), c=conv(), b=nn.BatchNorm2d(4)),
        "c:w clone:f b:a add:l relu:s",
    ),
    "bn over other dimension than linear": (
        sequence(nn.Flatten(2), nn.Linear(63, 3), nn.BatchNorm1d(3), nn.ReLU()),
        "0:l 1:w 2:a 3:s",
    ),
    "bn twice, dropout between": (
        sequence(conv(), nn.BatchNorm2d(4), nn.Dropout2d(), nn.BatchNorm2d(4), nn.ReLU()),
        "0:w 1:f 2:f 3:f 4:s",
    ),
    "normalisation first, no padding": (
        build(
            lambda s, x: F.relu(s.c((x - s.m) / s.d)),
            c=conv(padding=0),
            m=nn.Parameter(torch.rand(3, 1, 1)),
            d=nn.Parameter(torch.rand(1, 3, 1, 1) + 1),
        ),
        "sub:a div:f c:w relu:s",
    ),
    "constant factors and offsets": (
        build(lambda s, x: F.relu(0.5 * s.c(-x) / 3 - 1) + F.relu(1 - s.c(x)) * 2, c=conv(bias=False)),
        "neg:a c:w mul:f div:f sub:f relu:s c@1:w rsub:f relu@1:s mul:a add:l",
    ),
    "factors by channel, behind groups": (
        build(
            lambda s, x: F.relu(s.c(x) * s.a + s.b),
            c=conv(6, groups=3),
            a=nn.Parameter(torch.ones(6, 1, 1)),
            b=nn.Parameter(torch.ones(1, 6, 1, 1)),
        ),
        "c:w mul:f add:f relu:s",
    ),
    "factors of features": (
        build(
            lambda s, x: F.relu(s.f(x.flatten(1)) * s.g + s.g),
            f=nn.Linear(189, 6, bias=False),
            g=nn.Parameter(torch.ones(6)),
        ),
        "flatten:l f:w mul:f add:f relu:s",
    ),
    "a factor of a tensor used twice": (
        build(lambda s, x: (lambda y: F.relu(2 * y + y))(s.c(x)), c=conv()),
        "c:w mul:a add:l relu:s",
    ),
    "no_grad": (build(in_regions, c=conv(), b=nn.BatchNorm2d(4)), "c:w b:f relu:s add:l"),
    "casts and moves": (
        build(
            lambda s, x: F.relu(s.b(s.c(x.to(x).double().contiguous()).type_as(x).to("cpu")).to(torch.float64)),
            c=conv(),
            b=nn.BatchNorm2d(4),
        ),
        "to:f to:f c:w type_as:f to:f b:f to:f relu:s",
    ),
    "relu forms": (
        build(
            lambda s, x: F.relu_(
                s.c(torch.clamp(s.c(torch.relu(s.c(s.r(s.c(x.clamp(min=0))).clamp_min(0)))), 0, 2)).relu_()
            ),
            c=conv(3),
            r=nn.ReLU(inplace=True),
        ),
        "clamp:s c:w r:s clamp_min:f c@1:w relu:s c@2:w clamp@1:s c@3:w relu@1:s relu:f",
    ),
    "clipped relu": (
        sequence(conv(), nn.ReLU6(), conv(4, 4), nn.Hardtanh(0, 2, inplace=True), conv(4, 4), nn.ReLU6(inplace=True)),
        "0:w 1:s 2:w 3:s 4:w 5:s",
    ),
    "threshold relu, called twice": (
        build(lambda s, x: s.a(s.c(s.a(x))), c=conv(3), a=ThresholdReLU(1.0, shift=0.25)),
        "a:s c:w a@1:s",
    ),
    "average pools": (
        sequence(conv(), nn.ReLU(), nn.AvgPool2d(2, 2, 1, count_include_pad=False), nn.AdaptiveAvgPool2d((3, 2))),
        "0:w 1:s 2:l 3:l",
    ),
    "means": (
        build(lambda s, x: F.relu(s.c(x)).mean((2, 3), keepdim=True) + F.relu(x).mean((2, 3), keepdim=True), c=conv(3)),
        "c:w relu:s mean:l relu@1:s mean:l add:l",
    ),
    "shortcut by slice and pad": (
        build(
            lambda s, x: F.relu(s.c(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2), value=0.5)),
            c=conv(6, stride=2),
        ),
        "c:w slice:f slice:l slice:l pad:l add:l relu:s",
    ),
    "slices": (
        build(lambda s, x: F.relu(s.c(x[..., -4:]))[:, 1:3, 2:], c=conv()),
        "slice:l c:w relu:s slice:f slice:l slice:l",
    ),
    "add": (
        build(
            lambda s, x: F.relu(torch.add(s.c(x).add_(x), x, alpha=-2) + s.p + 1).add_(s.p * 2),
            c=conv(3),
            p=nn.Parameter(torch.zeros(3, 1, 1)),
        ),
        "c:w add:l add:l add:a add:a relu:s mul:f add:a",
    ),
    "cat": (
        build(lambda s, x: s.c(torch.cat((F.relu(x), x, F.relu(x)), 1)), c=conv(2, 9)),
        "relu:s relu@1:s cat:l c:w",
    ),
    "shapes": (
        build(
            lambda s, x: s.f(F.relu(x).view(x.size(0), -1).reshape(-1, 9, 21).flatten(1)),
            f=nn.Linear(189, 3),
        ),
        "relu:s view:l reshape:l flatten:l f:w",
    ),
    "identities": (
        sequence(
            conv(), nn.Dropout(), nn.ReLU(), nn.Dropout2d(inplace=True), nn.Identity(), nn.Flatten(), nn.Linear(252, 3)
        ),
        "0:w 1:f 2:s 3:f 5:l 6:w",
    ),
    "max-pool": (
        sequence(conv(), nn.ReLU(), nn.MaxPool2d(3, 2, 1), conv(4, 4), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()),
        "0:w 1:s 2:p 3:w 4:p 5:s",
    ),
    "weight norm": (
        sequence(torch.nn.utils.parametrizations.weight_norm(conv()), nn.ReLU()),
        "0.parametrizations.weight.0:f 0.conv2d:w 1:s",
    ),
    "awkward names": (
        build(
            lambda s, x: s.code(s.graph(s._meta(s.meta(x)))),
            graph=conv(3),
            code=nn.ReLU(),
            _meta=ThresholdReLU(),
            meta=conv(3),
        ),
        "meta:w _meta:s graph:w code:s",
    ),
    "residual": (residual, "c1:w a1:s c2:w c3:w add:l a2:s p:l a3:s flatten:l fc:w"),
}
ROLES = {"weights": "w", "spiking": "s", "linear": "l", "affine": "a", "folded": "f", "stateful pool": "p"}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # of the convolution itself
@pytest.mark.parametrize("name", NETS)
def test_graph_equals_the_net_and_names_every_node(name):
    make, report = NETS[name]
    net = random(make()).double()
    shape = (2, 4, 4) if name == "residual" else SHAPE
    ann = prepare(net, torch.randn(3, *shape).double())
    assert " ".join(f"{row.name}:{ROLES[row.role]}" for row in ann.meta["report"]) == report
    for size in (1, 2, 5, 7):
        x = torch.randn(size, *shape).double()
        torch.testing.assert_close(ann(x), net(x.clone()), rtol=1e-10, atol=1e-10)
    modules = list(ann.children())
    assert len({m.name for m in modules}) == len(modules)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in modules)
    assert [row.name for row in ann.meta["report"] if row.role == "spiking"] == list(activations(ann))


def test_thresholds_and_shifts_of_the_training_are_kept():
    make, _ = NETS["threshold relu, called twice"]
    found = activations(prepare(make(), torch.randn(1, *SHAPE)))
    assert {name: (a.y_th, a.shift) for name, a in found.items()} == {"a": (1.0, 0.25), "a@1": (1.0, 0.25)}
    make, _ = NETS["clipped relu"]
    assert [a.y_th for a in activations(prepare(make(), torch.randn(1, *SHAPE))).values()] == [6, 2, 6]


def order(ann):
    return [type(ann.get_submodule(node.target)) for node in ann.graph.nodes if node.op == "call_module"]


def test_max_pool_moves_before_an_activation_that_nobody_else_sees():
    ann = prepare(nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2)), torch.randn(1, *SHAPE))
    assert order(ann) == [nn.Conv2d, MaxPool, MaxPool, ThresholdReLU]
    assert [row.note for row in ann.meta["report"]] == ["", "", "moved before 1", "moved before 1"]
    shared = Net(lambda s, x: (lambda y: F.max_pool2d(y, 2).mean((2, 3)) + y.mean((2, 3)))(F.relu(s.c(x))), c=conv())
    ann = prepare(shared, torch.randn(1, *SHAPE))
    assert order(ann) == [nn.Conv2d, ThresholdReLU, MaxPool]
    assert [row.note for row in ann.meta["report"] if row.role == "stateful pool"] == [""]


def fn(function, **modules):
    return Net(lambda s, x: function(F.relu(s.c(x))), c=conv(), **modules)


def threshold_of(activation, y_th):
    activation.y_th.data.fill_(y_th)
    return activation


RELU, DATA, PRODUCT, BATCH = (
    "train with ReLU or threshold ReLU",
    "use batch norm",
    "without gates and attention",
    "keep the first",
)
REFUSED = {
    "gelu": (fn(F.gelu), "gelu: gelu", RELU),
    "silu": (nn.Sequential(conv(), nn.SiLU(inplace=True)), "1: silu", RELU),
    "leaky_relu": (fn(F.leaky_relu), "leaky_relu: leaky_relu", RELU),
    "sigmoid": (fn(lambda y: y.sigmoid().mean((2, 3))), "sigmoid: sigmoid", RELU),
    "softmax": (fn(lambda y: y.softmax(1).mean((2, 3))), "softmax: softmax", "use ReLU (at the end"),
    "softmax over places": (fn(lambda y: y.softmax(-1)), "softmax: softmax", "over the classes"),
    "softmax over images": (fn(lambda y: y.softmax(0)), "softmax: softmax", "over the classes"),
    "LSTM": (nn.Sequential(nn.Flatten(2), nn.LSTM(63, 4)), "1: lstm", "it is recurrent"),
    "GRU cell": (nn.Sequential(nn.Flatten(), nn.GRUCell(189, 4), nn.ReLU()), "1: grucell", "it is recurrent"),
    "cast to integers": (fn(lambda y: y.int().float()), "to: to", "keep values in floating point"),
    "a negative threshold": (nn.Sequential(conv(), threshold_of(QCFS(4), -0.5)), "1: qcfs", "y_th is -0.5 and must be"),
    "a threshold of 0": (
        nn.Sequential(conv(), nn.Sequential(threshold_of(TCL(), 0))),
        "1.0: tcl",
        "y_th is 0 and must",
    ),
    "hardtanh": (nn.Sequential(conv(), nn.Hardtanh()), "1: hardtanh", "clips to [-1, 1]"),
    "clamp from above": (Net(lambda s, x: s.c(x).clamp(max=1), c=conv()), "clamp: clamp", "clips to [-inf, 1]"),
    "layer_norm": (nn.Sequential(conv(), nn.LayerNorm(7), nn.ReLU()), "1: layer_norm", DATA),
    "group_norm": (nn.Sequential(conv(), nn.GroupNorm(2, 4), nn.ReLU()), "1: group_norm", DATA),
    "mul": (fn(lambda y: y * y.mean((2, 3), keepdim=True)), "mul: mul", PRODUCT),
    "bn without statistics": (
        nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()),
        "1: batch_norm",
        "keep running statistics",
    ),
    "in place": (
        fn(lambda y: F.relu_(y.flatten(1)) + y.flatten(1)),
        "relu: relu",
        "use the out-of-place form",
    ),
    "in place, seen by a view": (
        fn(lambda y: (lambda z: (F.relu_(y), z)[1])(y.flatten(1))),
        "relu: relu",
        "use the out-of-place form",
    ),
    "dropout that is on": (fn(lambda y: F.dropout(y, 0.5)), "dropout: dropout", "use nn.Dropout"),
    "a size": (fn(lambda y: y + y.size(0)), "add: add", "write the number"),
    "view over images": (fn(lambda y: y.view(-1, 2, 9, 7)), "view: view", BATCH),
    "mean over images": (fn(lambda y: y + y.mean(0, keepdim=True)), "mean: mean", BATCH),
    "cat of images": (fn(lambda y: torch.cat((y, y))), "cat: cat", BATCH),
    "several outputs": (fn(lambda y: (y, y + 1)), "output: output", "one tensor"),
    "a container": (fn(lambda y: {"logits": y}), "output: output", "one tensor"),
    "weights from data": (Net(lambda s, x: F.relu(F.linear(x, x[0, 0, :, :]))), "linear: linear", "compute them once"),
    "unknown": (fn(lambda y: y.cumsum(1)), "cumsum: cumsum", "docs/"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    net, begins, mend = REFUSED[name]
    with pytest.raises(NotConvertible) as caught:
        prepare(net, torch.randn(2, *SHAPE))
    assert any(f"{row.name}: {row.operation}" == begins and mend in row.note for row in caught.value.report)
    text = str(caught.value)
    assert "cannot be converted: " in text and text.endswith(".") and "\n" not in text


@pytest.mark.parametrize("f", [lambda y: torch.clip(y, 0, 1), lambda y: y.clip(0, 1), lambda y: y.clone().clip_(0, 1)])
def test_clip_is_clamp(f):
    (name, activation), *_ = reversed(activations(prepare(fn(f), torch.randn(1, *SHAPE))).items())
    assert name == "clip" and activation.y_th == 1


def locked(net):
    net.lock = Lock()
    return net


class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = conv()

    def forward(self, x):
        self.kept = F.relu(self.c(x))
        return self.kept


MISUSE = {
    "an empty example": (lambda net, x: prepare(net, x[:0]), r"The example is empty, of shape \(0, 3, 9, 7\): give a"),
    "an example of bytes": (lambda net, x: prepare(net, x.byte()), r"of torch.uint8, not of floats: pass images norm"),
    "another dtype": (
        lambda net, x: prepare(net, x.double()),
        r"torch.float64 and the network torch.float32: pass exam",
    ),
    "two inputs": (lambda net, x: prepare(nn.Bilinear(3, 3, 3), x), r"takes 2 inputs \(input1, input2\) and must take"),
    "a network that keeps": (lambda net, x: prepare(Keeps(), x), r"stores tensors in the network \(self.kept\), which"),
    "no example": (lambda net, x: prepare(net, x[0, 0, 0, 0]), "The example is a batch"),
    "an example with NaN": (lambda net, x: prepare(net, x * float("nan")), "of finite numbers"),
    "a network without values": (lambda net, x: prepare(copy.deepcopy(net).to("meta"), x), "on the meta device"),
    "a network with a lock": (lambda net, x: prepare(locked(net), x), r"attribute lock \(lock\): .*; delete it before"),
    "nothing to convert": (lambda net, x: prepare(nn.ReLU(), x), "no weights"),
    "a network that decides": (
        lambda net, x: prepare(Net(lambda s, x: s.c(x).relu() if x.sum() > 0 else x, c=conv()), x),
        "data-dependent code",
    ),
    "a converted network": (
        lambda net, x: convert(convert(prepare(net, x), "opi", x), "opi", x),
        "no activation left",
    ),
    "no images": (lambda net, x: convert(prepare(net, x), "opi", None), "Images are a tensor"),
    "images by name": (lambda net, x: convert(prepare(net, x), "opi", [{"images": x}]), "not dict"),
    "no method": (lambda net, x: convert(prepare(net, x), None, x), "by its name"),
    "simulate what was not prepared": (lambda net, x: simulate(net, x, 4), "call prepare and convert first"),
    "one step to read": (lambda net, x: simulate(convert(prepare(net, x), "opi", x), x, 4, at=2), "a list of steps"),
    "no batch": (lambda net, x: simulate(convert(prepare(net, x), "opi", x), x, 4, batch=0), "a number of images"),
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_is_reported_in_one_sentence(what, capfd):
    call, says = MISUSE[what]
    with pytest.raises(UserError, match=says) as caught:
        call(fn(lambda y: y.mean((2, 3))), torch.rand(2, *SHAPE))
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_what_others_log_is_left_alone():
    logging.disable(logging.WARNING)
    try:
        prepare(fn(lambda y: y), torch.randn(1, *SHAPE))
        assert logging.root.manager.disable == logging.WARNING
    finally:
        logging.disable(logging.NOTSET)


def test_report_lists_every_node_also_when_something_is_refused():
    net = Net(lambda s, x: s.f((F.silu(s.c(x)) * F.relu(x)).flatten(1)), c=conv(3), f=nn.Linear(189, 2))
    with pytest.raises(
        NotConvertible, match=r"^silu: silu cannot be converted: .* \(1 more: see `ann2snn inspect`\)\.$"
    ) as caught:
        prepare(net, torch.randn(2, *SHAPE))
    report = {row.name: row.role for row in caught.value.report}
    refused = dict.fromkeys(("silu", "mul"), "not convertible")
    assert report == {"c": "weights", "relu": "spiking", "flatten": "linear", "f": "weights"} | refused


def broken(value):
    net = nn.Sequential(conv(), nn.ReLU())
    net[0].weight.data[0, 0, 0, 0] = value
    return net


@pytest.mark.parametrize(
    "net, shape, words",
    [
        (broken(float("nan")), SHAPE, "0.weight holds values that are not finite"),
        (broken(float("inf")), SHAPE, "0.weight holds values that are not finite"),
        (nn.Sequential(conv(), nn.ReLU()), (4, 9, 7), r"does not take an input of shape \(2, 4, 9, 7\): "),
        (nn.Sequential(conv()), SHAPE, "no activation that could spike"),
        (Net(lambda s, x: F.relu(x) if x.sum() > 0 else x), SHAPE, "torch.export cannot capture"),
        (Net(lambda s, x: F.relu(x).view(2, -1)), SHAPE, "torch.export cannot capture"),
        (Net(lambda s, x: F.relu(x)[1:]), SHAPE, "torch.export cannot capture"),
    ],
)
def test_what_cannot_be_captured(net, shape, words):
    with pytest.raises(UserError, match=words):
        prepare(net, torch.randn(1, *shape))


def test_options_of_the_command_line_are_not_named_in_python():
    with pytest.raises(UserError) as caught:
        prepare(nn.Sequential(conv(), nn.ReLU()), torch.randn(1, 4, 9, 7))
    assert "--" not in str(caught.value)


def test_the_network_of_the_caller_is_unchanged():
    net = random(nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), conv(4, 4))).train()
    net[3].eval()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    example = torch.randn(1, *SHAPE)
    kept = example.clone()
    ann = prepare(net, example)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and all(p.requires_grad for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert torch.equal(example, kept)
    assert not {p.data_ptr() for p in ann.parameters()} & {v.data_ptr() for v in net.state_dict().values()}
    assert not ann.training and not any(p.requires_grad for p in ann.parameters())


def test_graph_is_portable():
    ann = prepare(random(nn.Sequential(nn.BatchNorm2d(3), conv(), nn.ReLU(), nn.MaxPool2d(2))), torch.randn(1, *SHAPE))
    x = torch.randn(5, *SHAPE)
    for copied in (pickle.loads(pickle.dumps(ann)), copy.deepcopy(ann)):
        assert torch.equal(copied(x), ann(x)) and list(activations(copied)) == ["2"]
    assert copied.meta["report"] == ann.meta["report"]
    torch.testing.assert_close(copied.double()(x.double()).float(), ann(x))
    assert ann(x).dtype == torch.float32


def test_resnet18_of_torchvision():
    from torchvision.models import resnet18

    net = resnet18(num_classes=10).eval()
    x = torch.randn(3, 3, 32, 32)
    ann = prepare(net, x)
    names = list(activations(ann))
    assert sum(isinstance(m, nn.ReLU) for m in net.modules()) == 9
    assert len(names) == 17 and names[:4] == ["relu", "layer1.0.relu", "layer1.0.relu@1", "layer1.1.relu"]
    assert {row.role for row in ann.meta["report"]} == {"weights", "folded", "spiking", "stateful pool", "linear"}
    torch.testing.assert_close(ann(x), net(x), rtol=1e-3, atol=1e-4)
    snn = replace_activations(ann, lambda activation: IF(1.0))
    assert [m.name for m in snn.children() if isinstance(m, IF)] == names


def test_batch_norm_of_timm_folds():
    import timm
    from timm.layers import BatchNormAct2d

    net = timm.create_model("mobilenetv2_035", num_classes=5).eval()
    norms = sum(isinstance(m, BatchNormAct2d) for m in net.modules())
    ann = prepare(net, torch.randn(1, 3, 32, 32))
    roles = [row.role for row in ann.meta["report"]]
    assert roles.count("folded") >= norms == roles.count("weights") - 1 == 52
    assert len(activations(ann)) == 35 and {a.y_th for a in activations(ann).values()} == {6.0}
    assert not any(isinstance(m, Affine | nn.BatchNorm2d) for m in ann.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_batch_norm_folds_in_half_precision(dtype):
    layers = [nn.Conv2d(2, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)]
    net = random(nn.Sequential(*layers)).to(dtype)
    prepare(net, torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_graph_written_wrongly_is_refused(size, monkeypatch):
    def add(x, y):
        return x - y if len(x) == size else x + y

    monkeypatch.setitem(LINEAR, torch.ops.aten.add.Tensor, add)
    with pytest.raises(UserError, match=f"graph differs from the network by .* at batch size {size}: please report it"):
        prepare(random(residual()), torch.zeros(1, 2, 4, 4))
