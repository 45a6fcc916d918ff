"""A layer that is never active, such as a pruned branch: it converts by every method, and never fires."""

import copy

import pytest
import torch
from nets import Net, one_thread, random  # noqa: F401
from sources import put
from torch import nn

from ann2snn.conversion.neurons import RESETS
from ann2snn.errors import UserError
from ann2snn.graph.prepare import prepare
from ann2snn.methods.convert import convert
from ann2snn.methods.registry import discover, find
from ann2snn.networks.activations import make
from ann2snn.simulation.simulate import simulate

METHODS = sorted(discover())
SPECS = {"qcfs": "qcfs:4", "slip_relu": "slip_relu:4:0.5", "tcl": "tcl"}
CASES = [(name, reset) for name in METHODS for reset in (RESETS if "reset" in find(name).options else [None])]


def branched(bias, activation="relu"):
    """A network with the residual branch d(a2(b(x))), whose activation a2 is never active, and the same without it."""

    def forward(s, x):
        y = s.a1(s.c(x))
        z = s.e(y) + s.d(s.a2(s.b(y))) if s.branch else s.e(y)
        return s.f(s.a3(z).mean((2, 3)))

    layers = {"c": nn.Conv2d(2, 3, 3, padding=1), "b": nn.Conv2d(3, 4, 3, padding=1), "e": nn.Conv2d(3, 3, 1)}
    net = random(Net(forward, **layers, d=nn.Conv2d(4, 3, 1, bias=False), f=nn.Linear(3, 3)))
    if bias == 0:
        nn.init.zeros_(net.b.weight)
    nn.init.constant_(net.b.bias, bias)
    net.a1, net.a2, net.a3, net.branch = (*(make(activation)() for _ in range(3)), True)
    without = copy.deepcopy(net.eval())
    without.branch = False
    return net, without


@pytest.fixture(scope="module")
def images():
    return torch.randn(24, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [0, -30], ids=["zero", "negative"])
@pytest.mark.parametrize("name, reset", CASES)
def test_a_silent_branch_changes_nothing(name, reset, bias, images, capsys):
    required_activation = find(name).required_activation
    options = ({"reset": reset} if reset else {}) | ({"steps": 50} if "steps" in find(name).options else {})
    options |= {"iterations": 5} if name in ("ltb", "da_qcfs") else {}
    T, results = 16, []
    for net in branched(bias, SPECS.get(required_activation, "relu")):
        snn = convert(prepare(net, images), name, images, T=T, **options)
        results.append(simulate(snn, images, T))
    silent, plain = results
    assert silent.spikes(T)["a2"] == 0 and all(silent.spikes(T)[layer] > 0 for layer in ("a1", "a3"))
    lines = [line for line in capsys.readouterr().err.splitlines() if "never" in line]
    trained = required_activation is not None  # its thresholds are not calibrated
    assert lines == ["ann2snn: a2 was never active on the calibration images: its neurons never fire."] * (not trained)
    if not find(name).is_stochastic:
        torch.testing.assert_close(silent.outputs[T], plain.outputs[T], rtol=1e-4, atol=1e-4)


def test_currents_above_0_do_not_make_a_silent_layer_fire(images):
    """The branch would be active on other images than those of the calibration."""
    net, _ = branched(-30)
    snn = convert(prepare(net, images), "optimal", images, T=16)
    assert net.a2(net.b(net.a1(net.c(50 * images)))).max() > 1
    assert simulate(snn, 50 * images, 16).spikes(16)["a2"] == 0


def test_an_output_that_is_never_positive_cannot_spike(images):
    net, _ = branched(0)
    nn.init.zeros_(net.f.weight)
    nn.init.constant_(net.f.bias, -1)
    ann = prepare(net, images)
    with pytest.raises(
        UserError, match="The output was never positive on the calibration images, .* accumulated read-out"
    ):
        convert(ann, "deng_code", images, T=4, readout="spiking")
    assert simulate(convert(ann, "deng_code", images, T=4), images).mean(4).max() < 0


def test_inspect_shows_a_silent_layer(ann2snn, tmp_path):
    from ann2snn.training import checkpoints

    net, info = checkpoints.load_source(put(tmp_path))
    layer = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)][1]
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, -1)
    checkpoints.save_source(net, {k: v for k, v in info.items() if k != "weights_hash"}, tmp_path / "net.pt")
    code, out, err = ann2snn("inspect net.pt --T 8")
    lines = [line for line in out.splitlines() if "never fires" in line]
    assert code == 0 and lines and all(line.endswith("100.0 %") for line in lines)
    assert err.count("was never active on the calibration images: its neurons never fire.") == len(lines)
