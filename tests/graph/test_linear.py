"""Linear operations between the activations: they convert, and what a spike reaches through them is counted."""

import copy

import pytest
import torch
import torch.nn.functional as F
from nets import Net, dyadic, dyadic_images, one_thread, random  # noqa: F401
from oracle import compare
from torch import nn

from ann2snn.conversion.neurons import IF
from ann2snn.conversion.surgery import replace_activations
from ann2snn.errors import UserError
from ann2snn.graph.modules import WEIGHTED, MaxPool
from ann2snn.graph.network import activations, modules_by_node
from ann2snn.graph.prepare import prepare
from ann2snn.graph.report import NotConvertible
from ann2snn.methods.convert import convert
from ann2snn.metrics.operations import costs
from ann2snn.simulation.simulate import simulate
from ann2snn.simulation.spikes import MOVES, Spikes, apply

SHAPE = (4, 3, 6)
MASK = torch.tensor([0.0, 1.0, -2.0, 0.5]).reshape(4, 1, 1)
ORDER = torch.tensor([2, 0, 3])

# functions of the values behind an activation, (B, 4, 3, 6)
MOVING = {
    "squeeze": lambda s, y: y[:, :1].squeeze(1),
    "squeeze in place": lambda s, y: y.mean(2, keepdim=True).squeeze_(2),
    "unsqueeze": lambda s, y: y.unsqueeze(2),
    "new dimension": lambda s, y: y[:, None],
    "select": lambda s, y: y[:, 0],
    "select from the end": lambda s, y: y[:, :, -1],
    "narrow": lambda s, y: y.narrow(1, -3, 2),
    "slice with steps": lambda s, y: y[:, 1::2, :-1],
    "indices": lambda s, y: y[:, [2, 0, 0]],
    "index_select": lambda s, y: y.index_select(1, s.order),
    "chunk that does not divide": lambda s, y: y.chunk(3, -1)[1] - y.chunk(3, -1)[2],
    "sum of chunks": lambda s, y: sum(y.chunk(2, 1)),
    "split": lambda s, y: y.split(3, 1)[1],
    "split by sizes": lambda s, y: torch.cat(y.split([1, 3], 1)[::-1], 1),
    "tensor_split": lambda s, y: y.tensor_split(3, 1)[0],
    "unbind": lambda s, y: y.unbind(1)[2],
    "permute": lambda s, y: y.permute(0, 2, 3, 1),
    "transpose": lambda s, y: y.transpose(2, 3),
    "swapaxes": lambda s, y: y.swapaxes(1, -1),
    "movedim": lambda s, y: y.movedim(1, -1),
    "mT": lambda s, y: y.mT,
    "permute by einsum": lambda s, y: torch.einsum("bchw->bwhc", y),
    "flip": lambda s, y: y - y.flip(3),
    "roll": lambda s, y: y.roll((1, 2), (2, -1)),
    "stack": lambda s, y: torch.stack([y, y], 2),
    "expand": lambda s, y: y.mean((2, 3), keepdim=True).expand(-1, -1, 5, 6),
    "expand by sizes": lambda s, y: y.mean((2, 3), keepdim=True).expand(y.shape[0], 4, 5, 6),
    "expand_as": lambda s, y: y.sum(1, keepdim=True).expand_as(y),
    "repeat": lambda s, y: y.repeat(1, 2, 1, 1),
    "tile": lambda s, y: y.tile(2, 1),
    "repeat_interleave": lambda s, y: y.repeat_interleave(2, 1),
    "unflatten": lambda s, y: y.unflatten(1, (2, 2)),
    "pixel_shuffle": lambda s, y: F.pixel_shuffle(y, 2),
    "pixel_unshuffle": lambda s, y: F.pixel_unshuffle(y[:, :, :2], 2),
    "channel_shuffle": lambda s, y: F.channel_shuffle(y, 2),
    "channel shuffle by shapes": lambda s, y: y.view(y.size(0), 2, 2, 3, 6).transpose(1, 2).reshape(y.size(0), 4, 3, 6),
    "concat": lambda s, y: torch.concat((y, y), 1),
    "nearest": lambda s, y: F.interpolate(y, scale_factor=2),
    "nearest, to a size": lambda s, y: F.interpolate(y, size=(2, 6)),
    "nearest-exact": lambda s, y: F.interpolate(y, size=(4, 6), mode="nearest-exact"),
}
ADDING = {
    "minus": lambda s, y: -y,
    "less a constant": lambda s, y: y - 1 - s.mask,
    "a constant less": lambda s, y: (1 - y).neg() + 2,
    "a tensor less": lambda s, y: s.mask - y,
    "times a number": lambda s, y: 0.5 * y,
    "by a number": lambda s, y: y / 2,
    "times a tensor": lambda s, y: s.mask * y,
    "times a tensor that adds channels": lambda s, y: y[:, :1] * s.mask,
    "times a new tensor": lambda s, y: y * torch.full((4, 1, 1), 0.5),
    "in place": lambda s, y: y.clone().mul_(3).div_(2).sub_(1),
    "sum": lambda s, y: y.sum((2, 3)),
    "sum, dimension kept": lambda s, y: y.sum(1, keepdim=True),
    "bilinear": lambda s, y: F.interpolate(y, scale_factor=2, mode="bilinear"),
    "bilinear, corners aligned": lambda s, y: F.interpolate(y, size=(5, 6), mode="bilinear", align_corners=True),
    "bilinear, smaller": lambda s, y: F.interpolate(y, scale_factor=0.5, mode="bilinear"),
    "bicubic": lambda s, y: F.interpolate(y, scale_factor=2, mode="bicubic"),
    "linear": lambda s, y: F.interpolate(y.flatten(2), size=12, mode="linear"),
    "trilinear": lambda s, y: F.interpolate(y[:, None], scale_factor=2, mode="trilinear"),
    "average, 1-D": lambda s, y: F.avg_pool1d(y.flatten(2), 3, 2, 1),
    "average, 3-D": lambda s, y: F.avg_pool3d(y[:, None], 2, 1),
    "adaptive, 1-D": lambda s, y: F.adaptive_avg_pool1d(y.flatten(2), 4),
    "adaptive, 3-D": lambda s, y: F.adaptive_avg_pool3d(y[:, None], (3, 2, 4)),
}
# those that have the weights themselves
WEIGHING = {
    "einsum": lambda s, y: torch.einsum("bchw,dc->bdhw", y, s.matrix),
    "einsum, the constant first": lambda s, y: torch.einsum("dc, bchw -> bdhw", s.matrix, y),
    "einsum of each channel": lambda s, y: torch.einsum("bchw,cwk->bchk", y, s.cube),
    "einsum of a new tensor": lambda s, y: torch.einsum("bchw,dc->bdhw", y, torch.ones(2, 4, dtype=y.dtype)),
    "matmul": lambda s, y: y.permute(0, 2, 3, 1) @ s.matrix.t(),
    "matmul from the left": lambda s, y: s.matrix @ y.flatten(2),
    "matmul with a vector": lambda s, y: y.permute(0, 2, 3, 1) @ s.matrix[0],
    "matmul for each channel": lambda s, y: y @ s.cube,
    "mm": lambda s, y: torch.mm(y[:, :, 0, 0], s.matrix.t()),
    "conv1d": lambda s, y: s.c1(y.flatten(2)),
    "conv3d": lambda s, y: s.c3(y[:, None]),
    "transposed": lambda s, y: s.t2(y),
    "transposed, groups and dilation": lambda s, y: s.t2g(y),
    "transposed, 1-D": lambda s, y: s.t1(y.flatten(2)),
}
MATRICES = {"matrix": (2, 4), "cube": (4, 6, 2)}
MODULES = dict(
    c1=nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
    c3=nn.Conv3d(1, 2, (2, 3, 3), stride=(1, 1, 2), padding=1),
    t1=nn.ConvTranspose1d(4, 2, 4, stride=3, padding=1, output_padding=1),
    t2=nn.ConvTranspose2d(4, 2, 2, 2),
    t2g=nn.ConvTranspose2d(4, 6, 3, stride=2, padding=(1, 2), output_padding=1, groups=2, dilation=2),
)


def network(functions, heads=True):
    """Every function of an activation of its own, of the images; `heads` have three weights for each of the values."""
    names = list(functions)
    modules = copy.deepcopy(MODULES) | {f"a{i}": nn.ReLU() for i in range(len(names))}
    if heads and names:
        plain, zeros = network({}), torch.zeros(2, *SHAPE)
        modules |= {f"h{i}": nn.Linear(functions[name](plain, zeros).shape[-1], 3) for i, name in enumerate(names)}

    def forward(s, x):
        values = [functions[name](s, getattr(s, f"a{i}")(x)) for i, name in enumerate(names)]
        values = [getattr(s, f"h{i}")(value) for i, value in enumerate(values)] if heads else values
        return torch.cat([value.flatten(1) for value in values], 1)

    net = random(Net(forward, **modules))
    generator = torch.Generator().manual_seed(1)
    constants = {"mask": MASK, "order": ORDER}
    constants |= {name: torch.rand(size, generator=generator) + 0.5 for name, size in MATRICES.items()}
    for name, value in constants.items():
        net.register_buffer(name, value)
    return net


def reached(function):
    """(C, H, W): how many values of the result a single spike of every unit changes."""
    units = torch.eye(torch.Size(SHAPE).numel(), dtype=torch.double).reshape(-1, *SHAPE)
    net = network({}).double()
    with torch.no_grad():
        silent, spikes = function(net, torch.zeros_like(units)), function(net, units.clone())
    return ((spikes - silent).abs() > 1e-6).flatten(1).sum(1).reshape(SHAPE)


def images(n=16):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(0))


def errors(net, x, at):
    """The prepared network, and the mean errors of the outputs of the converted one after so many steps."""
    ann = prepare(net, x)
    result = simulate(convert(ann, "max_norm", x), x, at[-1], at=at)
    with torch.no_grad():
        expected = net(x).flatten(1)
    return ann, [(result.mean(T).flatten(1) - expected).abs().mean(0) for T in at]


def error_falls(functions, heads=True):
    """The error of every function at four times the steps is at most half as large."""
    net = network(functions, heads)
    ann, found = errors(net, images(), (32, 128))
    sizes = []
    for i, name in enumerate(functions):
        value = functions[name](net, torch.zeros(2, *SHAPE))
        sizes.append((getattr(net, f"h{i}")(value) if heads else value).flatten(1).shape[1])
    for name, first, second in zip(functions, *(error.split(sizes) for error in found), strict=True):
        assert 0 < second.mean() <= first.mean() / 2, name
    return ann


@pytest.mark.parametrize("functions", [MOVING, ADDING], ids=["moving", "adding"])
def test_linear_operations_convert_and_their_routes_are_counted(functions):
    ann = error_falls(functions)
    assert {row.role for row in ann.meta["report"]} == {"linear", "affine", "folded", "spiking", "weights"}
    fan_out = costs(ann).fan_out
    for i, name in enumerate(functions):
        assert torch.equal(fan_out[f"a{i}"], 3 * reached(functions[name])), name


def test_what_has_weights_converts_and_is_counted():
    """All units together meet every weight once for each multiply-accumulate that reads no padding."""
    found = costs(error_falls(WEIGHING, heads=False))
    for (i, name), layer in zip(enumerate(WEIGHING), found.macs, strict=True):
        assert torch.equal(found.fan_out[f"a{i}"], reached(WEIGHING[name])), name
        assert found.macs_without_padding[layer] == found.fan_out[f"a{i}"].sum(), name
    macs = dict(zip(WEIGHING, found.macs.values(), strict=True))
    assert macs["conv1d"] == 6 * 9 * 2 * 3  # outputs x inputs of a group x taps
    assert macs["conv3d"] == 2 * 5 * 3 * 3 * 2 * 3 * 3
    assert macs["transposed, groups and dilation"] == 4 * 3 * 6 * 3 * 3 * 3  # inputs x outputs of a group x taps
    assert macs["transposed, 1-D"] == 4 * 18 * 2 * 4
    assert macs["einsum"] == 2 * 4 * 3 * 6


# max-pools of the current that is summed over time

POOLS = {
    "adaptive": lambda s, y: F.adaptive_max_pool2d(y, (2, 3)),
    "1-D": lambda s, y: F.max_pool1d(y.flatten(2), 3, 2, 1),
    "adaptive, 1-D": lambda s, y: F.adaptive_max_pool1d(y.flatten(2), 4),
    "3-D": lambda s, y: F.max_pool3d(y[:, None], (2, 1, 2)),
    "adaptive, 3-D": lambda s, y: F.adaptive_max_pool3d(y[:, None], 2),
    "positions that nobody uses": lambda s, y: F.max_pool2d(y, 2, return_indices=True)[0],
    "amax": lambda s, y: y.amax((2, 3)),
    "amax, dimension kept": lambda s, y: torch.amax(y, 1, keepdim=True),
    "max": lambda s, y: y.max(-1).values,
    "amin": lambda s, y: (y - 1).amin(1),
    "min": lambda s, y: y.min(2)[0],
}


def test_maxima_are_stateful_pools():
    # the second reader of an activation keeps the pool behind it
    both = {n: lambda s, y, f=f: torch.cat((f(s, y).flatten(1), y.flatten(1)), 1) for n, f in POOLS.items()}
    ann = error_falls(both)
    assert sum(isinstance(m, MaxPool) for m in modules_by_node(ann).values()) == len(POOLS)
    assert sum(row.role == "stateful pool" for row in ann.meta["report"]) == len(POOLS)


def test_a_pool_over_dimensions_moves_before_its_activation():
    ann = prepare(network({"amax": POOLS["amax"]}), images())
    assert [type(m) for m in modules_by_node(ann).values()][:2] == [MaxPool, type(activations(ann)["a0"])]
    assert costs(ann).neurons == {"a0": 4} and costs(ann).fan_out["a0"].tolist() == [3] * 4


# layers of one and three dimensions, and batch norm behind transposed convolutions

FOLDED = {
    "1-D": (
        (4, 30),
        [nn.Conv1d(4, 8, 5, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 6, 3, padding=1),
         nn.BatchNorm1d(6), nn.ReLU(), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(18, 3)],
        "0:weights 1:folded 2:spiking 3:stateful pool 4:weights 5:folded 6:spiking 7:linear 8:linear 9:linear"
        " 10:weights",
    ),
    "3-D": (
        (1, 6, 6, 6),
        [nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(32, 3)],
        "0:weights 1:folded 2:spiking 3:stateful pool 4:linear 5:weights",
    ),
    "transposed": (
        (4, 5, 4),
        [nn.ConvTranspose2d(4, 6, 3, 2, groups=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
         nn.ConvTranspose2d(6, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)],
        "0:weights 1:folded 2:spiking 3:weights 4:folded 5:spiking 6:weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDED)
def test_batch_norm_folds_and_two_layers_converge(name):
    shape, layers, report = FOLDED[name]
    x = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
    ann, (first, second) = errors(random(nn.Sequential(*layers)), x, (64, 256))
    assert 0 < second.mean() <= first.mean() / 2
    assert " ".join(f"{row.name}:{row.role}" for row in ann.meta["report"]) == report


# spikes stay bytes through what moves them

BYTES = {
    "shuffle": lambda s, x: s.c2(F.channel_shuffle(s.a1(s.c1(x)), 2)),
    "shuffle by shapes": lambda s, x: s.c2(s.a1(s.c1(x)).unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)),
    "halves": lambda s, x: s.c2(torch.cat([part * 0.5 for part in s.a1(s.c1(x)).chunk(2, 1)][::-1], 1)),
    "turned": lambda s, x: s.c2(s.a1(s.c1(x)).transpose(2, 3).flip(3).roll(1, 2) / -2),
    "through pixels": lambda s, x: s.c2(F.pixel_unshuffle(F.interpolate(F.pixel_shuffle(s.a1(s.c1(x)), 2), size=4), 2)),
    "repeated": lambda s, x: s.c2(s.a1(s.c1(x))[:, [3, 1]].repeat(1, 2, 1, 1)),
    "other dimensions": lambda s, x: s.c2(s.a1(s.c1(x)).permute(0, 2, 3, 1)),
}


@pytest.mark.parametrize("name", BYTES)
def test_moved_spikes_are_those_of_the_equations(name):
    """With a threshold for every channel, bit for bit, compiled or not."""
    modules = dict(
        c1=nn.Conv2d(2, 4, 3, padding=1), a1=nn.ReLU(), c2=nn.LazyConv2d(3, 1), a2=nn.ReLU(), f=nn.LazyLinear(3)
    )
    net = Net(lambda s, x: s.f(s.a2(BYTES[name](s, x)).flatten(1)), **modules)
    net(torch.zeros(1, 2, 4, 4))
    thresholds = torch.tensor([0.5, 1.0, 2.0, 4.0]).reshape(4, 1, 1)
    start = torch.tensor(0.0)
    compare(
        dyadic(net), dyadic_images(5), 20, {"a1": (thresholds, "soft", start, start), "a2": (1.0, "soft", start, start)}
    )


MOVED = {
    torch.reshape: ((-1, 2, 2, 3, 6),),
    torch.permute: ((0, 3, 2, 1),),
    torch.transpose: (1, 2),
    torch.movedim: (1, -1),
    torch.flip: ((1, 2),),
    torch.roll: ((1,), (1,)),
    torch.broadcast_to: ((-1, 4, 3, 6),),
    torch.tile: ((1, 2, 1, 1),),
    torch.repeat_interleave: (2, 1),
    torch.index_select: (1, ORDER),
    F.pixel_shuffle: (2,),
    F.channel_shuffle: (2,),
}


@pytest.mark.parametrize(
    "amplitude", [torch.tensor(0.5), torch.rand(4, 1, 1), torch.rand(SHAPE)], ids=["1", "C", "CHW"]
)
def test_operations_keep_bytes_and_their_amplitudes(amplitude):
    assert MOVED.keys() <= MOVES
    counts = torch.randint(0, 9, (5, *SHAPE), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    spikes = Spikes(counts, amplitude, 8)
    for function, rest in MOVED.items():
        found = apply(function, spikes, *rest)
        assert found and found.counts.dtype == torch.uint8 and found.max_count == 8
        assert torch.equal(found.dense, function(spikes.dense, *rest)), function
    joined = apply(torch.cat, [spikes, Spikes(counts, amplitude * 2, 4)], 1)
    assert (
        joined
        and torch.equal(joined.dense, torch.cat((spikes.dense, counts * (amplitude * 2)), 1))
        and joined.max_count == 8
    )
    assert apply(torch.cat, [spikes, spikes.dense], 1) is None and apply(torch.add, spikes, 1) is None


def test_a_shuffle_keeps_one_amplitude_for_each_channel():
    """So that the compiled convolution behind it takes the bytes."""
    amplitude = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    spikes = Spikes(torch.ones(2, *SHAPE, dtype=torch.uint8), amplitude)
    shuffled = apply(F.channel_shuffle, spikes, 2)
    assert shuffled and shuffled.amplitude.flatten().tolist() == [1, 3, 2, 4]
    parts = apply(torch.reshape, spikes, (-1, 2, 2, 3, 6))
    swapped = apply(torch.transpose, parts, 1, 2)
    back = apply(torch.reshape, swapped, (-1, 4, 3, 6))
    assert back and back.amplitude.shape == (4, 1, 1) and back.amplitude.flatten().tolist() == [1, 3, 2, 4]


# what is not linear, or mixes the images

BATCH, IN_PLACE, DATA = "keep the first dimension for the batch", "use the out-of-place form", "normalises by"
REFUSED = {
    "flip of images": (lambda s, y: y.flip(0), "flip", BATCH),
    "roll of images": (lambda s, y: y.roll(1, 0), "roll", BATCH),
    "roll of all": (lambda s, y: y.roll(1), "roll", BATCH),
    "permute with images": (lambda s, y: y.permute(1, 0, 2, 3), "permute", BATCH),
    "transpose with images": (lambda s, y: y.transpose(0, 1), "transpose", BATCH),
    "a dimension before the images": (lambda s, y: y.unsqueeze(0), "unsqueeze", BATCH),
    "one image": (lambda s, y: y[0], "select", BATCH),
    "some images": (lambda s, y: y[[0, 1]], "index", BATCH),
    "sum of images": (lambda s, y: y.sum(0), "sum", BATCH),
    "sum of all": (lambda s, y: y.sum(), "sum", BATCH),
    "largest of images": (lambda s, y: y.amax(0, keepdim=True), "amax", BATCH),
    "largest of all": (lambda s, y: y.max(), "max", BATCH),
    "images repeated": (lambda s, y: y.repeat(2, 1, 1, 1), "repeat", BATCH),
    "stack of batches": (lambda s, y: torch.stack((y, y)), "stack", BATCH),
    "weights over images": (lambda s, y: torch.einsum("bchw,dc->dbhw", y, s.matrix), "einsum", BATCH),
    "positions": (lambda s, y: y.max(1)[1] + y.max(1)[0], "max", "use the maxima alone"),
    "positions of a pool": (
        lambda s, y: sum(F.max_pool2d(y, 2, return_indices=True)), "max_pool2d_with_indices", "use the maxima alone"
    ),
    "by its sum": (lambda s, y: y / y.sum(1, keepdim=True), "div", DATA),
    "a number by it": (lambda s, y: s.mask / (y + 1), "div", DATA),
    "rounded": (lambda s, y: torch.div(y, 2, rounding_mode="floor"), "div", "is not supported"),
    "times itself": (lambda s, y: y * y, "mul", "without gates"),
    "two that depend on the input": (lambda s, y: torch.einsum("bchw,bcwk->bchk", y, y.mT), "einsum", "without gates"),
    "matmul of two": (lambda s, y: y @ y.transpose(2, 3), "matmul", "without gates"),
    "random numbers": (lambda s, y: y * torch.rand(4, 1, 1), "rand", "is not supported"),
    "number of images": (lambda s, y: y * y.size(0), "mul", "write the number"),
    "in place, seen by a slice": (lambda s, y: (lambda z: (F.relu_(y), z)[1])(y[:, :2]), "relu", IN_PLACE),
    "in place, on a slice": (lambda s, y: (F.relu_(y[:, 0]), y)[1], "relu", IN_PLACE),
    "in place, on a part": (lambda s, y: (F.relu_(y.chunk(2, 1)[0]), y)[1], "relu", IN_PLACE),
    "in place, on a permutation": (lambda s, y: (F.relu_(y.permute(0, 2, 3, 1)), y)[1], "relu", IN_PLACE),
    "in place, seen by a squeeze": (lambda s, y: (lambda z: (F.relu_(y), z)[1])(y[:, :1].squeeze(1)), "relu", IN_PLACE),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_linear_is_refused_with_its_reason(name):
    function, operation, reason = REFUSED[name]
    net = network({})
    net.function = lambda s, x: function(s, x.relu() - 0.5)
    with pytest.raises(NotConvertible) as caught:
        prepare(net, images())
    assert (operation, True) in {(row.operation, reason in row.note) for row in caught.value.report}
    assert reason in str(caught.value) or "more: see" in str(caught.value)


def test_squeeze_without_a_dimension_keeps_the_batch_of_one_image():
    """Where the network itself drops it."""
    ann = prepare(network({"squeeze": lambda s, y: y[:, :1].squeeze()}), images())
    assert ann(images(1)).shape == (1, 9)


def test_a_network_that_fails_for_one_image_is_reported():
    net = network({})
    net.function = lambda s, x: torch.cat((x.relu()[:, :1].squeeze(), x[:, 0]), 1) @ s.cube[0]
    with pytest.raises(UserError, match="fails on a batch of 1: "):
        prepare(net, images())


def test_in_place_on_a_view_that_nothing_else_reads_converts():
    ann = prepare(network({"relu": lambda s, y: F.relu_((y - 0.5).permute(0, 2, 3, 1))}), images())
    assert list(activations(ann)) == ["a0", "relu"]


# blocks of published networks


def res2(s, x):
    first, second, third, fourth = s.c1(x).relu().split(2, 1)
    second = s.c2(second).relu()
    third = s.c3(second + third).relu()
    return s.head(torch.cat([first, second, third, F.avg_pool2d(fourth, 3, 1, 1)], 1).mean((2, 3)))


def high_resolution(s, x):
    fine = s.c1(x).relu()
    coarse = s.c4(fine).relu()
    return s.head((fine + F.interpolate(coarse, scale_factor=2.0, mode="nearest")).relu().mean((2, 3)))


def dense_output(s, x):
    return F.interpolate(s.c5(s.c4(s.c1(x).relu()).relu()), size=x.shape[-2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("block", [res2, high_resolution, dense_output])
def test_blocks_of_published_networks_converge(block):
    layers = dict(c1=nn.Conv2d(3, 8, 3, padding=1), c2=nn.Conv2d(2, 2, 3, padding=1), c3=nn.Conv2d(2, 2, 3, padding=1),
                  c4=nn.Conv2d(8, 8, 3, 2, 1), c5=nn.Conv2d(8, 5, 1), head=nn.Linear(8, 4))  # fmt: skip
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ann, (first, second) = errors(random(Net(block, **layers)), x, (64, 256))
    assert 0 < second.mean() <= first.mean() / 2
    assert not [row for row in ann.meta["report"] if row.role == "not convertible"]


def test_shufflenet_of_torchvision():
    from torchvision.models import shufflenet_v2_x0_5

    net = random(shufflenet_v2_x0_5(num_classes=4))
    ann = prepare(net, torch.randn(1, 3, 32, 32))
    assert len(activations(ann)) == 37 and sum(isinstance(m, WEIGHTED) for m in modules_by_node(ann).values()) == 57
    snn = replace_activations(ann, lambda activation: IF(1.0))
    assert simulate(snn, torch.randn(2, 3, 32, 32), 2).mean(2).shape == (2, 4)
