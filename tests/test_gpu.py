"""What a GPU computes is what the CPU does. All of this is skipped where there is none."""

import dataclasses

import pytest
import torch
from torch import nn

from ann2snn import devices
from ann2snn.calibration.statistics import Statistics
from ann2snn.data.registry import load
from ann2snn.graph.prepare import prepare
from ann2snn.methods.registry import discover
from ann2snn.simulation.layerwise import PackedSpikes
from ann2snn.simulation.simulate import simulate
from ann2snn.training import checkpoints, recipes
from ann2snn.training import train as training_train
from ann2snn.training.source_info import source_info

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
METHODS = [name for name in discover() if discover()[name].required_activation is None]


def test_bits_come_back():
    fired = torch.rand(3, 5, 7, 2).cuda() > 0.5
    kept = PackedSpikes(2 * (fired.numel() + 7) // 8, fired.device)
    for _ in range(2):
        kept.append(fired)
    assert all(torch.equal(kept[k].bool(), fired) for k in range(2))


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def source(digits):
    """A network for the digits, of a short training."""
    net = checkpoints.untrained_network(source_info(digits, "digits_residual", "threshold_relu:1", 0), 0)
    images, labels = next(digits.train.batches(1077))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval()


def test_float32_is_computed_in_float32(source, digits):
    devices.resolve_device("cuda")
    images, _ = next(digits.test.batches(360))
    ann = prepare(source, images[:1])
    with torch.inference_mode():
        here, there = ann(images), ann.cuda()(images.cuda()).cpu()
    assert (here - there).abs().max() < 1e-5 * here.abs().max()


@pytest.mark.parametrize("name", METHODS)
def test_methods_convert_equally(name, source, digits):
    """Rounding may move a spike: hardly ever an image's class, and next to nothing of the counts."""
    devices.resolve_device("cuda")
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


def test_a_training_resumes_bit_for_bit(digits, tmp_path, monkeypatch):
    from ann2snn.training import lightning_module

    def train(root):
        return checkpoints.load_source(
            training_train.train(digits, "digits_plain", "relu", 0, root, device="cuda", progress=False)
        )[1]["weights_hash"]

    short = dataclasses.replace(recipes.RECIPES["digits"], epochs=3)
    monkeypatch.setitem(recipes.RECIPES, "digits", short)
    whole = train(tmp_path / "whole")

    def stop(self, trainer, module, real=lightning_module.EpochCheckpoint.on_train_epoch_end):
        real(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lightning_module.EpochCheckpoint, "on_train_epoch_end", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(tmp_path / "parts")
    assert list((tmp_path / "parts").rglob("last.ckpt"))
    assert train(tmp_path / "parts") == whole
