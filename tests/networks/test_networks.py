import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ann2snn.errors import UserError
from ann2snn.graph.prepare import prepare
from ann2snn.networks import activations
from ann2snn.networks import registry as networks_registry
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.networks.registry import _NETWORKS, input_shape, names, register_with_timm

SHAPES = {name: input_shape(name) for name in names()}
CARDS = {  # activation calls, parameters, multiply-accumulates
    "digits_plain": (4, 22_954, None),
    "digits_residual": (5, 19_706, None),
    "cifar_resnet18": (17, 11_173_962, 555_422_720),
    "cifar_resnet20": (19, 269_722, 40_551_040),
    "cifar_resnet32": (31, 464_154, 68_862_592),
    "cifar_resnet34": (33, 21_282_122, 1_159_402_496),
    "cifar_resnet44": (43, 658_586, 97_174_144),
    "cifar_resnet56": (55, 853_018, 125_485_696),
    "cifar_vgg16": (13, 14_724_042, 313_201_664),
    "deng_cifarnet": (7, 45_003_018, 1_245_582_336),
    "deng_resnet20": (19, 11_253_440, 215_699_456),
    "deng_resnet20_bn": (19, 11_263_296, 215_699_456),
    "deng_vgg16": (15, 35_211_082, 262_905_856),
    "deng_vgg16_bn": (15, 35_215_306, 262_905_856),
    "deng_vgg16_imagenet": (15, 138_357_544, 15_470_264_320),
    "li_resnet20": (19, 4_327_754, 647_694_848),
    "mobilenet_v1_025": (27, 467_336, 13_570_048),
    "qcfs_resnet20": (19, 272_474, 40_813_184),
    "qcfs_vgg16": (15, 33_642_442, 332_111_872),
    "qcfs_vgg16_imagenet": (15, 138_361_768, 15_470_264_320),
}
SMALL = [name for name in names() if "imagenet" not in name]  # those take seconds for an image


def classes_of(name):
    return 1000 if SHAPES[name][1] > 32 else 10


def create(name, activation="relu", num_classes=None):
    classes = num_classes or classes_of(name)
    return networks_registry.create(name, num_classes=classes, in_chans=SHAPES[name][0], activation=activation)


def weight_layers(net, shape):
    """Convolutions as (in for each output, out, kernel, stride, width of the output), linear layers as (in, out), in
    order of call."""
    found = []

    def note(module, _, out):
        if isinstance(module, nn.Linear):
            found.append((module.in_features, module.out_features))
        else:
            assert out.shape[2] == out.shape[3]
            size = (module.kernel_size[0], module.stride[0], out.shape[3])
            found.append((module.in_channels // module.groups, module.out_channels, *size))

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note)
    net.eval()(torch.empty(1, *shape))
    return found


def macs(layers):
    return sum(i * o * (more[0] * more[2]) ** 2 if more else i * o for i, o, *more in layers)


def test_every_network_is_in_the_table():
    assert names() == sorted(CARDS)


@pytest.mark.parametrize("name", names())
def test_card(name):
    calls, parameters, operations = CARDS[name]
    with torch.device("meta"):
        net = create(name, "threshold_relu:0.5")
        layers = weight_layers(net, SHAPES[name])
    card = " ".join(_NETWORKS[name].__doc__.split())
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert f"{parameters:,} parameters" in card
    if operations:
        assert macs(layers) == operations
        assert f"{operations:,} MACs" in card


PAPER = {
    "deng_cifarnet": [
        *[(3, 128, 3, 1, 32), (128, 256, 3, 1, 32), (256, 512, 3, 1, 16), (512, 1024, 3, 1, 8), (1024, 512, 3, 1, 8)],
        *[(32768, 1024), (1024, 512), (512, 10)],
    ],
    "deng_vgg16": [
        *[(3, 64, 3, 1, 32), (64, 64, 3, 1, 32), (64, 128, 3, 1, 16), (128, 128, 3, 1, 16)],
        *[(128, 256, 3, 1, 8), (256, 256, 3, 1, 8), (256, 256, 1, 1, 8)],
        *[(256, 512, 3, 1, 4), (512, 512, 3, 1, 4), (512, 512, 1, 1, 4)],
        *[(512, 512, 3, 1, 2), (512, 512, 3, 1, 2), (512, 512, 1, 1, 2)],
        *[(2048, 4096), (4096, 4096), (4096, 10)],
    ],
    "deng_resnet20": [
        *[(3, 64, 3, 1, 32), (64, 64, 3, 1, 32), (64, 64, 3, 1, 32)],
        *[(64, 64, 3, 1, 16)] * 4,
        *[(64, 128, 3, 2, 8), (128, 128, 3, 1, 8), (64, 128, 1, 2, 8), (128, 128, 3, 1, 8), (128, 128, 3, 1, 8)],
        *[(128, 256, 3, 2, 4), (256, 256, 3, 1, 4), (128, 256, 1, 2, 4), (256, 256, 3, 1, 4), (256, 256, 3, 1, 4)],
        *[(256, 512, 3, 2, 2), (512, 512, 3, 1, 2), (256, 512, 1, 2, 2), (512, 512, 3, 1, 2), (512, 512, 3, 1, 2)],
        (2048, 10),
    ],
}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_networks_layer_by_layer(name):
    with torch.device("meta"):
        net = create(name)
        assert weight_layers(net, SHAPES[name]) == PAPER[name]
    biased = name != "deng_resnet20"
    parameters = sum(i * o * (more[0] ** 2 if more else 1) + biased * o for i, o, *more in PAPER[name])
    assert sum(p.numel() for p in net.parameters()) == parameters == CARDS[name][1]
    dropouts = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == ([0.2] * 10 if name == "deng_resnet20" else [])
    assert not any(isinstance(module, nn.BatchNorm2d | nn.MaxPool2d) for module in net.modules())


def test_the_papers_vgg16_for_imagenet_has_torchvisions_layers():
    from torchvision.models import vgg16

    with torch.device("meta"):
        ours, theirs = (weight_layers(net, (3, 224, 224)) for net in (create("deng_vgg16_imagenet"), vgg16()))
    assert ours == theirs


@pytest.mark.parametrize("name", ["deng_vgg16", "deng_resnet20"])
def test_batch_norm_folds_into_the_papers_network(name):
    torch.manual_seed(0)
    nets = create(name), create(f"{name}_bn")
    for module in nets[1].modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(value, 0.5, 1.5)
    paper, folded = (prepare(net, torch.rand(1, *SHAPES[name])) for net in nets)
    assert [(n.op, n.target) for n in paper.graph.nodes] == [(n.op, n.target) for n in folded.graph.nodes]
    before, after = ({key: value.shape for key, value in net.state_dict().items()} for net in (paper, folded))
    assert before.items() <= after.items()
    convolutions = sum(isinstance(module, nn.Conv2d) for module in folded.modules())
    assert len(after) - len(before) == (convolutions if name == "deng_resnet20" else 0)


@pytest.mark.parametrize("activation", ["relu", "threshold_relu:1"])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_nonzero_in_train_mode(name, activation):
    torch.manual_seed(0)
    net = create(name, activation).train()
    loss = F.cross_entropy(net(torch.rand(4, *SHAPES[name])), torch.arange(4))
    loss.backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("name", SMALL)
def test_classes_and_batch(name, classes):
    net = create(name, num_classes=classes).eval()
    x = torch.rand(5, *SHAPES[name])
    y = net(x)
    assert y.shape == (5, classes)
    torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), y, rtol=1e-4, atol=1e-5 * y.abs().max().item())


@pytest.mark.parametrize("name", names())
def test_every_activation_call_is_a_module_of_its_own(name):
    with torch.device("meta"):
        net, calls = create(name, "threshold_relu:0.5").eval(), []
        found = [m for m in net.modules() if isinstance(m, ThresholdReLU)]
        for module in found:
            assert module.y_th == 0.5
            module.register_forward_hook(lambda m, *_: calls.append(m))
        assert net(torch.empty(2, *SHAPES[name])).shape == (2, classes_of(name))
    assert len(found) == len(calls) == len(set(calls)) == CARDS[name][0]
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
    found = [input_shape(name) for name in ("digits_plain", "digits_residual", "cifar_resnet20", "resnet18")]
    assert found == [(1, 8, 8), (1, 8, 8), (3, 32, 32), (3, 224, 224)]


def test_timm_network_takes_the_activation():
    net = networks_registry.create("test_resnet", num_classes=10, in_chans=1, activation="threshold_relu:1").eval()
    assert net(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert sum(p.numel() for p in net.parameters()) == 373_370
    assert sum(isinstance(m, ThresholdReLU) for m in net.modules()) == 12
    assert not any(isinstance(m, nn.ReLU) for m in net.modules())


@pytest.mark.parametrize(
    "name, message",
    [
        ("digits_plane", "nearest are: digits_plain"),
        ("resnet188", "nearest are: .*resnet18"),
        ("qqqqqqqq", r"there are: cifar_resnet18, .*deng_vgg16_imagenet, digits_plain, .*, \.\.\."),
        ("test_byobnet", r"test_byobnet keeps stages.0.0.attn.act \(ReLU\)"),
        ("dla46_c", "dla46_c does not take threshold_relu:1 .*act_layer"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(name, message):
    with pytest.raises(UserError, match=message):
        networks_registry.create(name, num_classes=10, in_chans=1, activation="threshold_relu:1")


def test_timm_network_without_act_layer_keeps_its_relu():
    assert any(
        isinstance(m, nn.ReLU) for m in networks_registry.create("dla46_c", num_classes=10, in_chans=1).modules()
    )


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert networks_registry.create("digits_plain", num_classes=10, in_chans=1) is not None
    with pytest.raises(UserError, match=r"'digits_plan'; the nearest are: digits_plain.*\. timm, .* not installed"):
        networks_registry.create("digits_plan", num_classes=10, in_chans=1)


def test_timm_makes_our_networks():
    import timm

    register_with_timm()
    register_with_timm()  # a second time is no warning
    assert set(names()) <= set(timm.list_models())
    net = timm.create_model("digits_plain", num_classes=7)
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 7) and any(isinstance(m, nn.ReLU) for m in net.modules())
    chosen = {"in_chans": 2, "act_layer": activations.make("threshold_relu:1")}
    net = timm.create_model("digits_residual", num_classes=7, **chosen)
    assert net(torch.rand(2, 2, 8, 8)).shape == (2, 7) and not any(isinstance(m, nn.ReLU) for m in net.modules())
    with pytest.raises(UserError, match="no pretrained weights of digits_plain"):
        timm.create_model("digits_plain", pretrained=True, num_classes=10)
    with pytest.raises(TypeError, match="drop_rate"):
        timm.create_model("digits_plain", num_classes=10, drop_rate=0.5)


def test_timm_is_not_imported_with_our_networks():
    code = "import sys, ann2snn.networks; print('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
