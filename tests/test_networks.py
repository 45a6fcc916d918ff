import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ann2snn import networks
from ann2snn.activations import ThresholdReLU
from ann2snn.errors import UserError

PARAMETERS = {"digits_plain": 22_954, "digits_residual": 19_706, "cifar_resnet20": 269_722}
SHAPES = {name: networks.input_shape(name) for name in networks.names()}
CALLS = {"digits_plain": 4, "digits_residual": 5, "cifar_resnet20": 19}  # activation calls


def create(name, activation="relu", num_classes=10):
    return networks.create(name, num_classes=num_classes, in_chans=SHAPES[name][0], activation=activation)


def test_every_network_is_in_the_tables():
    assert networks.names() == sorted(PARAMETERS) == sorted(CALLS)


@pytest.mark.parametrize("name", networks.names())
def test_parameters_and_card(name):
    assert sum(p.numel() for p in create(name).parameters()) == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,} parameters" in " ".join(networks._NETWORKS[name].__doc__.split())


@pytest.mark.parametrize("activation", ["relu", "threshold_relu:1"])
@pytest.mark.parametrize("name", networks.names())
def test_gradients_are_nonzero_in_train_mode(name, activation):
    torch.manual_seed(0)
    net = create(name, activation).train()
    loss = F.cross_entropy(net(torch.rand(16, *SHAPES[name])), torch.arange(16) % 10)
    loss.backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("name", networks.names())
def test_classes_and_batch(name, classes):
    net = create(name, num_classes=classes).eval()
    x = torch.rand(5, *SHAPES[name])
    y = net(x)
    assert y.shape == (5, classes)
    torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), y)


@pytest.mark.parametrize("name", networks.names())
def test_every_activation_call_is_a_module_of_its_own(name):
    net, calls = create(name, "threshold_relu:0.5").eval(), []
    found = [m for m in net.modules() if isinstance(m, ThresholdReLU)]
    for module in found:
        assert module.y_th == 0.5
        module.register_forward_hook(lambda m, *_: calls.append(m))
    net(torch.rand(2, *SHAPES[name]))
    assert len(found) == len(calls) == len(set(calls)) == CALLS[name]
    assert not any(isinstance(m, nn.ReLU) for m in net.modules())


def test_cifar_resnet20_takes_akamasters_state_dict():
    state = {"conv1.weight": (16, 3, 3, 3), "linear.weight": (10, 64), "linear.bias": (10,)}
    norms = {"bn1": 16}
    for layer, width in ((1, 16), (2, 32), (3, 64)):
        for block in range(3):
            place, before = f"layer{layer}.{block}", width // 2 if block == 0 and layer > 1 else width
            state |= {f"{place}.conv1.weight": (width, before, 3, 3), f"{place}.conv2.weight": (width, width, 3, 3)}
            norms |= {f"{place}.bn1": width, f"{place}.bn2": width}
    for norm, width in norms.items():
        state |= {f"{norm}.{what}": (width,) for what in ("weight", "bias", "running_mean", "running_var")}
        state[f"{norm}.num_batches_tracked"] = ()
    assert {name: tuple(value.shape) for name, value in create("cifar_resnet20").state_dict().items()} == state


def test_option_a_shortcut():
    block = create("cifar_resnet20").layer2[0].eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 16, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


def test_input_shapes():
    found = [networks.input_shape(name) for name in ("digits_plain", "digits_residual", "cifar_resnet20", "resnet18")]
    assert found == [(1, 8, 8), (1, 8, 8), (3, 32, 32), (3, 224, 224)]


def test_timm_network_takes_the_activation():
    net = networks.create("test_resnet", num_classes=10, in_chans=1, activation="threshold_relu:1").eval()
    assert net(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert sum(p.numel() for p in net.parameters()) == 373_370
    assert sum(isinstance(m, ThresholdReLU) for m in net.modules()) == 12
    assert not any(isinstance(m, nn.ReLU) for m in net.modules())


@pytest.mark.parametrize(
    "name, message",
    [
        ("digits_plane", "nearest: digits_plain"),
        ("resnet188", "nearest: .*resnet18"),
        ("qqqqqqqq", "ours: cifar_resnet20, digits_plain, digits_residual"),
        ("test_byobnet", r"test_byobnet keeps stages.0.0.attn.act \(ReLU\)"),
        ("dla46_c", "dla46_c does not take threshold_relu:1 .*act_layer"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(name, message):
    with pytest.raises(UserError, match=message):
        networks.create(name, num_classes=10, in_chans=1, activation="threshold_relu:1")


def test_timm_network_without_act_layer_keeps_its_relu():
    assert any(isinstance(m, nn.ReLU) for m in networks.create("dla46_c", num_classes=10, in_chans=1).modules())


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert networks.create("digits_plain", num_classes=10, in_chans=1) is not None
    with pytest.raises(UserError, match=r"'digits_plan' \(nearest: digits_plain, .*\); timm, .* not installed"):
        networks.create("digits_plan", num_classes=10, in_chans=1)
