"""Networks as they are found: wrapped, pruned, normalised, with something after the last layer."""

import copy

import pytest
import torch
import torch.nn.functional as F
from nets import Net, one_thread, random  # noqa: F401
from torch import nn
from torch.nn.utils import prune

from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare

X = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def plain():
    return random(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)))


def of_part(wrap):
    def wrapped(net):
        net[0] = wrap(net[0])
        return net

    return wrapped


def pruned(net):
    prune.l1_unstructured(net[0], "weight", 0.5)
    prune.random_unstructured(net[0], "weight", 0.25)
    prune.l1_unstructured(net[4], "bias", 0.5)
    return net


def with_state(net):
    net.last, net.parts = net(X), {"all": [net(X)]}
    return net


def with_hook(net):
    kept = []
    net[0].register_forward_hook(lambda module, inputs, out: kept.append(out))
    net(X)
    return net


def parallel(net):
    if not torch.distributed.is_initialized():
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(net)
    finally:
        torch.distributed.destroy_process_group()


WRAPPED = {
    "DataParallel": nn.DataParallel,
    "DataParallel inside": of_part(nn.DataParallel),
    "DistributedDataParallel": parallel,
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled inside": of_part(lambda part: torch.compile(part, backend="eager")),
    "both": lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
    "pruned": pruned,
    "weight norm": of_part(lambda part: torch.nn.utils.weight_norm(part)),
    "spectral norm": of_part(lambda part: torch.nn.utils.spectral_norm(part)),
    "state of a forward pass": with_state,
    "a hook that keeps": with_hook,
}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("kind", WRAPPED)
def test_what_is_wrapped_around_a_network_goes(kind):
    net = WRAPPED[kind](plain()).eval()
    run = net.module if kind == "DistributedDataParallel" else net
    expected, modules = run(X), [*map(id, net.modules())]
    before = copy.deepcopy({name: value.detach() for name, value in net.state_dict().items()})
    ann = prepare(net, X)
    torch.testing.assert_close(ann(X), expected, rtol=1e-4, atol=1e-5)
    assert list(activations(ann)) == ["2"]
    assert [*map(id, net.modules())] == modules and all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_network_is_called_so():
    with pytest.raises(UserError, match=r"^The network is scripted or traced \(torch.jit\).* load_state_dict\("):
        prepare(torch.jit.trace(plain(), X), X)
    with pytest.raises(UserError, match=r"^0 is scripted or traced \(torch.jit\)"):
        prepare(of_part(torch.jit.script)(plain()), X)


class Box:
    pass


def test_what_cannot_be_copied_is_named():
    net = plain()
    net[0].box = Box()
    net[0].box.value = net(X)
    with pytest.raises(UserError, match=r"its attribute 0.box \(Box\): .*; delete it before prepare\.$"):
        prepare(net, X)


SQUASHED = {
    "softmax": nn.Softmax(1),
    "softmax over the last dimension": nn.Softmax(-1),
    "log_softmax": nn.LogSoftmax(1),
    "sigmoid": nn.Sigmoid(),
    "softmax and a cast": Net(lambda s, x: F.softmax(x, 1, dtype=torch.float64).float()),
    "sigmoid in place": Net(lambda s, x: x.sigmoid_()),
}


@pytest.mark.parametrize("kind", SQUASHED)
def test_a_softmax_or_sigmoid_at_the_end_is_dropped_with_one_line(kind, capsys):
    logits = plain()
    ann = prepare(nn.Sequential(logits, SQUASHED[kind]), X)
    torch.testing.assert_close(ann(X), logits(X))
    (row,) = [row for row in ann.meta["report"] if row.role == "dropped"]
    name = kind.split()[0]
    line = f"ann2snn: {row.name}: the {name} at the end is dropped: the largest output stays the largest.\n"
    assert row.operation == name and capsys.readouterr() == ("", line)


def test_a_softmax_over_the_classes_of_every_pixel_is_dropped():
    net = random(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Softmax(1)))
    torch.testing.assert_close(prepare(net, X)(X), net[:3](X))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_network_is_compared_before_its_softmax(size, monkeypatch):
    """Logits of 40 and more: the softmax of the wrong ones is the same."""
    from ann2snn.graph.operations import LINEAR

    def add(x, y):
        return x + y + (len(x) == size)

    net = Net(lambda s, x: F.softmax(s.f(F.relu(x).flatten(1)) + s.f(x.flatten(1)), 1), f=nn.Linear(72, 5))
    monkeypatch.setitem(LINEAR, torch.ops.aten.add.Tensor, add)
    with pytest.raises(UserError, match=f"differs from the network by 1 at batch size {size}: please report it"):
        prepare(net, X)


def test_autocast_is_looked_through():
    def forward(s, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = F.relu(s.c(x))
        return s.d(y.float())

    net = random(Net(forward, c=nn.Conv2d(2, 3, 3), d=nn.Conv2d(3, 3, 1)))
    ann = prepare(net, X)
    torch.testing.assert_close(ann(X), net.d(F.relu(net.c(X))))


def test_normalize_and_frozen_batch_norm_of_torchvision():
    from torchvision.ops import FrozenBatchNorm2d
    from torchvision.transforms import Normalize

    net = nn.Sequential(Normalize([0.5, 0.25], [0.25, 0.5]), nn.Conv2d(2, 3, 3), FrozenBatchNorm2d(3), nn.ReLU())
    random(net[1:])
    net[2].running_var.abs_().add_(0.5)
    ann = prepare(net, X)
    torch.testing.assert_close(ann(X), net(X), rtol=1e-4, atol=1e-5)
    report = [row for row in ann.meta["report"] if "constant of the network" not in row.note]
    assert [(row.name, row.role) for row in report] == [
        ("0", "affine"),
        ("0", "folded"),
        ("1", "weights"),
        ("2", "folded"),
        ("2", "folded"),
        ("3", "spiking"),
    ]
