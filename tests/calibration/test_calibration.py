import copy
import math
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import Net, copies, dyadic, dyadic_images, one_thread, random, residual  # noqa: F401
from torch import nn

from ann2snn.calibration.images import batches_of
from ann2snn.calibration.statistics import Statistics
from ann2snn.conversion.thresholds import UNREACHABLE, threshold
from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert

FINE = 2.0**-10


def nearest_rank(values, q, nonzero):
    """The plain definition: sort, and take the value of rank ceil(q n)."""
    values = sorted(v for v in values.flatten().tolist() if v > 0 or not nonzero)
    return values[max(1, math.ceil(round(q * len(values), 9))) - 1] if values else 0.0


def check(values, q):
    """Quantiles of a layer and of channels, over all and over non-zero values, against a sort."""
    stats = copies(values)
    for nonzero in (False, True):
        exact = [nearest_rank(values[:, c], q, nonzero) for c in range(values.shape[1])]
        found = stats.quantile(q, nonzero=nonzero, per_channel=True)
        assert found.shape == stats.channel_max.shape == (values.shape[1], *[1] * (values.dim() - 2))
        pairs = [*zip(exact, found.flatten().tolist(), stats.channel_max.flatten().tolist(), strict=True)]
        layer = stats.quantile(q, nonzero=nonzero)
        assert layer.dim() == 0
        pairs.append((nearest_rank(values, q, nonzero), layer.item(), stats.max.item()))
        for e, f, top in pairs:
            assert e <= f <= top and f <= max(e, top * 2**-16 * (1 + FINE)) * (1 + FINE)


def ann_of(net, shape=(2, 4, 4)):
    return prepare(net, torch.zeros(1, *shape))


def test_an_activation_named_output_has_its_own_statistics():
    net = Net(lambda s, x: s.f(s.output(s.h(x.flatten(1)))), h=nn.Linear(32, 3), output=nn.ReLU(), f=nn.Linear(3, 3))
    net, images = dyadic(net), dyadic_images(8)
    net.f.bias.data += 100
    stats = Statistics(ann := prepare(net, images[:1]), lambda: [images])
    (name,) = activations(ann)
    assert stats[name].max == net.h(images.flatten(1)).relu().max() < 50 < stats["output"].max


def test_statistics_of_another_network_are_refused():
    images = dyadic_images(4)
    one, other = (prepare(random(residual(), seed), images[:1]) for seed in (0, 1))
    with pytest.raises(UserError, match="another network"):
        convert(one, "optimal", Statistics(other, lambda: [images]), 4)


def test_max_is_exact_for_every_order_and_batch_size():
    ann, images = ann_of(dyadic(residual())), dyadic_images(37)
    seen = {}
    hooks = [m.register_forward_hook(lambda m, _, out: seen.update({m.name: out})) for m in activations(ann).values()]
    seen["output"] = ann(images)
    for hook in hooks:
        hook.remove()
    order = torch.randperm(37, generator=torch.Generator().manual_seed(1))
    for size in (1, 5, 37):
        stats = Statistics(ann, lambda size=size: images[order].split(size))
        for name, values in seen.items():
            assert torch.equal(stats[name].max, values.max())
            assert torch.equal(stats[name].unit_max, values.amax(0))
            assert stats[name].dead_fraction == (values.amax(0) <= 0).float().mean().item()
        assert stats.count == 37


def test_statistics_of_a_real_net_do_not_depend_on_the_batch_size():
    ann, images = ann_of(random(residual())), torch.randn(50, 2, 4, 4)
    ways = [Statistics(ann, lambda size=size: images.flip(0).split(size)) for size in (1, 7, 50)]
    for name in (*activations(ann), "output"):
        for a in ways[1:]:
            torch.testing.assert_close(a[name].unit_max, ways[0][name].unit_max)
            torch.testing.assert_close(a[name].quantile(0.9), ways[0][name].quantile(0.9), rtol=2 * FINE, atol=0)


@given(
    st.lists(st.floats(2.0**-6, 500, width=32) | st.just(0.0), min_size=6, max_size=60),
    st.floats(1e-3, 1),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_quantiles_against_a_sort(values, q, channels, dtype):
    values = torch.tensor(values, dtype=dtype)
    check(values[: len(values) // channels * channels].reshape(-1, channels), q)


@pytest.mark.parametrize("q", [0.001, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_quantiles_of_wide_layers(q):
    """Values over 16 octaves, some far below them, channels of very different size, a dead one."""
    generator = torch.Generator().manual_seed(0)
    values = 2 ** (torch.rand(40, 4, 5, 3, generator=generator) * -20)
    values[torch.rand(values.shape, generator=generator) < 0.3] = 0
    check(values * torch.tensor([1.0, 2.0**-12, 0.0, 1000.0])[:, None, None], q)


def test_conventions_of_the_quantile():
    stats = copies([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    assert stats.quantile(0.5) == 0 and stats.quantile(0.7) == 0
    assert stats.quantile(0.5, nonzero=True).item() == pytest.approx(2, rel=FINE)
    assert stats.quantile(1, per_channel=True).tolist() == [3, 0]
    assert stats.quantile(1, nonzero=True, per_channel=True).tolist() == [3, 0]
    hundred = copies(torch.arange(1.0, 101).reshape(100, 1))
    assert hundred.quantile(0.07).item() == pytest.approx(7, rel=FINE)  # 0.07 * 100 is more than 7 in floating point
    for q in (0, -0.5, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"A quantile lies in \(0, 1\]"):
            stats.quantile(q)


def test_full_quantile_is_the_exact_maximum():
    stats = copies(torch.rand(50, 3, 4, generator=torch.Generator().manual_seed(0)) * 7)
    for nonzero in (False, True):
        assert torch.equal(stats.quantile(1, nonzero=nonzero), stats.max)
        assert torch.equal(stats.quantile(1, nonzero=nonzero, per_channel=True), stats.channel_max)


def test_many_values_in_one_bin_are_counted():
    stats = copies(torch.tensor([[1.0, 1.0]]))
    stats.quantile(1)
    stats._histogram.bins = stats._histogram.bins * (2**31 - 1)  # as many per channel as an int32 holds
    assert stats.quantile(0.5) == 1


def test_shapes_of_channel_statistics():
    ann = ann_of(random(residual()))
    stats = Statistics(ann, lambda: [torch.randn(9, 2, 4, 4)])
    for name, shape in {"a1": (3, 1, 1), "a3": (3, 1, 1), "output": (3,)}.items():
        assert stats[name].channel_max.shape == stats[name].quantile(0.9, per_channel=True).shape == shape
    linear = ann_of(random(nn.Sequential(nn.Linear(5, 4), nn.ReLU())), (5,))
    stats = Statistics(linear, lambda: [torch.randn(9, 5)])
    assert stats["1"].channel_max.shape == stats["1"].quantile(0.9, per_channel=True).shape == (4,)


def test_one_pass_for_the_maxima_one_for_the_quantiles():
    ann, passes = ann_of(random(residual())), []
    stats = Statistics(ann, lambda: passes.append(1) or [torch.randn(3, 2, 4, 4).abs()] * 2)
    assert not passes
    _ = [stats[name].max for name in (*activations(ann), "output")]
    for T in (4, 8):
        convert(ann, "optimal", stats, T=T)
        convert(ann, "max_norm", stats, reset="hard")
    assert len(passes) == 1
    convert(ann, "robust_norm", stats)
    convert(ann, "robust_norm", stats, quantile=0.9)
    _ = [stats[name].quantile(0.5, per_channel=True) for name in activations(ann)]
    assert len(passes) == 2 and stats.count == 6
    assert not any(m._forward_hooks for m in ann.modules())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite(value):
    ann, images = ann_of(random(residual())), torch.randn(4, 2, 4, 4)
    bad = images.clone()
    bad[2, 0, 0, 0] = value
    stats = Statistics(ann, lambda: bad.split(2))
    for _ in range(2):  # a failed pass leaves nothing behind
        with pytest.raises(UserError, match="images hold values that are not finite"):
            stats["a1"]
    assert not any(m._forward_hooks for m in ann.modules())


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 2, 4, 4)]], ids=["no batch", "an empty batch"])
def test_no_calibration_images(batches):
    stats = Statistics(ann_of(random(residual())), lambda: batches)
    for _ in range(2):
        with pytest.raises(UserError, match="no calibration images"):
            stats["a1"]


def test_threshold_of_a_dead_channel_is_that_of_the_layer():
    assert threshold(torch.tensor([2.0, 0.0, 3.0]), "a").tolist() == [2, 3, 3]
    assert threshold(torch.zeros(3), "a").tolist() == [UNREACHABLE] * 3


def test_statistics_leave_the_graph_alone():
    ann = ann_of(random(residual()))
    before = copy.deepcopy(ann.state_dict())
    images = torch.randn(6, 2, 4, 4)
    kept = images.clone()
    Statistics(ann, lambda: [images])["output"].quantile(0.5)
    assert torch.equal(images, kept)
    assert all(torch.equal(value, before[name]) for name, value in ann.state_dict().items())


class Stream(torch.utils.data.IterableDataset):
    """Batches (images, labels), made when they are asked for; fails where more than `alive` of them exist at a time."""

    def __init__(self, batches, size, shape=(2, 4, 4), alive=math.inf):
        self.batches, self.size, self.shape, self.alive = batches, size, shape, alive
        self.passes, self.made = 0, []

    def __iter__(self):
        self.passes += 1
        for k in range(self.batches):
            batch = torch.randn(self.size, *self.shape, generator=torch.Generator().manual_seed(k))
            self.made.append(weakref.ref(batch))
            assert sum(made() is not None for made in self.made) <= self.alive, "earlier batches are kept"
            yield batch, torch.zeros(self.size)


def test_a_data_loader_is_read_and_not_kept():
    """Once for maxima, twice where quantiles are asked for; the same statistics as from one tensor."""
    loader = torch.utils.data.DataLoader(data := Stream(20, 30, alive=4), batch_size=None)
    images = torch.cat([batch for batch, _ in Stream(20, 30)])
    ann = ann_of(random(residual()))
    for method, passes in (("max_norm", 1), ("robust_norm", 2)):
        data.passes = 0
        streamed, expected = convert(ann, method, loader), convert(ann, method, images)
        assert data.passes == passes
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(streamed.state_dict()[name], value)


def test_a_shuffled_and_augmenting_loader_gives_the_same_images_in_every_pass():
    def augment(batch):
        images = torch.stack([image for (image,) in batch])
        return images * torch.rand(len(images), 1, 1, 1), torch.zeros(len(images))

    images = dyadic_images(60)
    data = torch.utils.data.TensorDataset(images)
    loader = torch.utils.data.DataLoader(data, 16, shuffle=True, drop_last=True, collate_fn=augment)
    batches, kept = batches_of(loader)
    first, second = ([batch.clone() for batch in batches()] for _ in range(2))
    assert kept == 1024 and len(first) == 3 and not torch.equal(torch.cat(first), images[:48])
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    before = torch.get_rng_state()
    list(batches())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_method_keeps_as_many_images_of_a_loader_as_it_needs(capsys):
    ann = ann_of(random(residual()))
    stats = Statistics(ann, *batches_of(torch.utils.data.DataLoader(Stream(40, 30), batch_size=None)))
    assert stats.images().shape == (1024, 2, 4, 4)
    assert "takes the first 1,024 of the data loader; pass a tensor of images to use more" in capsys.readouterr().err
    expected = torch.cat([batch for batch, _ in Stream(40, 30)])
    assert torch.equal(stats.images(), expected[:1024])
    capsys.readouterr()
    for batches, data in ((5, Stream(5, 30)), (40, expected)):
        loader = data if isinstance(data, torch.Tensor) else torch.utils.data.DataLoader(data, batch_size=None)
        assert torch.equal(Statistics(ann, *batches_of(loader)).images(), expected[: 30 * batches])
        assert capsys.readouterr().err == ""


def test_an_iterator_is_read_once():
    images = dyadic_images(20)
    ann = ann_of(random(residual()))
    snn = convert(ann, "robust_norm", iter(images.split(5)))
    for name, value in convert(ann, "robust_norm", images).state_dict().items():
        torch.testing.assert_close(snn.state_dict()[name], value)


def test_no_images_are_reported():
    ann = ann_of(random(residual()))
    for method in ("max_norm", "ltb"):
        for data in (torch.zeros(0, 2, 4, 4), []):
            with pytest.raises(UserError, match="There are no calibration images: give at least one"):
                convert(ann, method, data)
