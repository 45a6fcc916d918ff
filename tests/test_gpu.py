"""What a GPU computes is what the CPU does. All of this is skipped where there is none."""

import pytest
import torch
from torch import nn

from ann2snn import data, training
from ann2snn.calibration import Statistics
from ann2snn.conversion import discover
from ann2snn.graph import prepare
from ann2snn.neurons import IF, TimedIF, hard, soft
from ann2snn.simulation import simulate
from ann2snn.simulation.layers import Eager, fused
from ann2snn.trains import _Bits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
IMAGES, STEPS = 3, 8
METHODS = [name for name in discover() if discover()[name].only_on is None]


def values(kind, shape, lead=()):
    size = {"layer": (), "channel": (shape[0], *[1] * (len(shape) - 1)), "unit": shape}[kind]
    return (torch.rand((*lead, *size)) + 0.3).cuda()


@pytest.mark.parametrize("reset", [soft, hard])
@pytest.mark.parametrize("kind", ["layer", "channel", "unit"])
@pytest.mark.parametrize("shift", ["layer", "channel", "unit", "channel by step", "unit by step"])
@pytest.mark.parametrize("shape", [(5, 4, 3), (7,)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_kernel_takes_the_steps_that_the_neuron_does(reset, kind, shift, shape, layout):
    from ann2snn.simulation.fused import Fused

    if len(shape) == 1:
        layout = torch.contiguous_format
    torch.manual_seed(0)
    timed = shift.endswith("step")
    v_th, v_init = values(kind, shape), 0.2 * values(kind, shape)
    drive = 0.3 * values(shift.split()[0], shape, (2 * STEPS + 1,) if timed else ())
    neuron = (TimedIF if timed else IF)(v_th, reset, drive, v_init)
    assert fused(neuron)
    train = [torch.rand(STEPS * IMAGES, *shape).cuda().contiguous(memory_format=layout) for _ in range(3)]
    ours, naive = Fused(neuron, train[0][:IMAGES]), Eager(neuron, train[0][:IMAGES])
    for block in train:
        (out, events), (wanted, counted) = (way.run(block, None, [3, 4, 1], 2) for way in (ours, naive))
        assert torch.equal(out, wanted) and 0 < out.count_nonzero() < out.numel()
        assert all(torch.equal(a, b) for a, b in zip(events, counted[:2], strict=True))
    still = train[0][:IMAGES].contiguous(memory_format=layout)
    again = still.repeat(STEPS, *[1] * len(shape))
    (out, _), (wanted, _) = (
        Fused(neuron, still).run(still, None, [STEPS], 1),
        Eager(neuron, still).run(again, None, [STEPS], 1),
    )
    assert torch.equal(out, wanted)


def test_bits_come_back():
    fired = torch.rand(3, 5, 7, 2).cuda() > 0.5
    assert torch.equal(_Bits(fired).unpacked().bool(), fired)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def source(digits, tmp_path_factory):
    """A network for the digits, of a short training."""
    net = training.untrained(training.describe(digits, "digits_residual", "threshold_relu:1", 0), 0)
    images, labels = next(digits.train.batches(1077))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval()


def test_float32_is_computed_in_float32(source, digits):
    training.accelerator("cuda")
    images, _ = next(digits.test.batches(360))
    ann = prepare(source, images[:1])
    with torch.inference_mode():
        here, there = ann(images), ann.cuda()(images.cuda()).cpu()
    assert (here - there).abs().max() < 1e-5 * here.abs().max()


@pytest.mark.parametrize("name", METHODS)
def test_methods_convert_alike(name, source, digits):
    """Rounding may move a spike: hardly ever an image's class, and next to nothing of the counts."""
    training.accelerator("cuda")
    images, _ = next(digits.test.batches(360))
    calibration, results = next(digits.train.batches(512))[0], []
    for device in ("cpu", "cuda"):
        ann = prepare(source, images[:1]).to(device)
        stats = Statistics(ann, lambda: calibration.split(100))
        snn = discover()[name](ann, stats, 16)
        results.append(simulate(snn, images, 16, at=[8]))
    here, there = results
    for t in (8, 16):
        assert (here.predictions(t) != there.predictions(t).cpu()).sum() <= 4
        for layer, count in here.spikes(t).items():
            assert there.spikes(t)[layer] == pytest.approx(count, rel=0.01)


def test_a_training_goes_on_bit_for_bit(digits, tmp_path, monkeypatch):
    from ann2snn import lightning

    def train(root):
        return training.load_source(
            training.train(digits, "digits_plain", "relu", 0, root, device="cuda", progress=False)
        )[1]["weights_hash"]

    short = training.RECIPES["digits"].__class__(**{**training.RECIPES["digits"].__dict__, "epochs": 3})
    monkeypatch.setitem(training.RECIPES, "digits", short)
    whole = train(tmp_path / "whole")

    def stop(self, trainer, module, real=lightning.EpochCheckpoint.on_train_epoch_end):
        real(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lightning.EpochCheckpoint, "on_train_epoch_end", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(tmp_path / "parts")
    assert list((tmp_path / "parts").rglob("last.ckpt"))
    assert train(tmp_path / "parts") == whole
