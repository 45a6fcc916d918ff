"""Training with Lightning. Run as a script, this file is the child process that gets killed."""

import dataclasses
import io
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from scripts import environment
from sources import tensor_bytes
from torch import nn

from ann2snn import devices
from ann2snn.data.registry import load
from ann2snn.devices import hardware_description
from ann2snn.errors import UserError
from ann2snn.networks import activations
from ann2snn.networks import registry as networks_registry
from ann2snn.networks.activations import ThresholdReLU
from ann2snn.training import checkpoints, initialization, recipes
from ann2snn.training import train as training_train
from ann2snn.training.checkpoints import load_source, weights_hash
from ann2snn.training.recipes import Recipe
from ann2snn.training.train import train

SHORT = Recipe("short", epochs=4, batch_size=16, lr=0.05, augmentation="crop_flip")  # 80 images: 5 steps an epoch


class Untouchable:
    def __getattribute__(self, name):
        raise AssertionError("training looked at the test split")


def small_digits():
    digits = load("digits")
    return dataclasses.replace(digits, train=digits.train.subset(range(80)), test=Untouchable())


def dropout_net(*, num_classes, in_chans, act_layer):
    """Everything that draws or keeps a state in training: dropout, batch norm, momentum, augmentation."""
    layers = [nn.Conv2d(in_chans, 8, 3), nn.BatchNorm2d(8), act_layer(), nn.Dropout(0.5), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(288, num_classes))


def plain_net(*, num_classes, in_chans, act_layer):
    layers = [nn.Conv2d(in_chans, 8, 3), nn.Identity(), act_layer(), nn.Dropout(0.5), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(288, num_classes))


def kaiming_net(*, num_classes, in_chans, act_layer):
    net = plain_net(num_classes=num_classes, in_chans=in_chans, act_layer=act_layer)
    nn.init.kaiming_normal_(net[0].weight, mode="fan_out")
    return net


NETS = {net.__name__: net for net in (dropout_net, plain_net, kaiming_net)}


def run(root, network="dropout_net", activation="relu", seed=0, recipe=SHORT, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks_registry, "_NETWORKS", networks_registry.network_functions() | NETS)
        patch.setitem(recipes.RECIPES, "digits", recipe)
        patch.setattr(checkpoints, "write_atomic", options.pop("write_atomic", checkpoints.write_atomic))
        return train(small_digits(), network, activation, seed, root, **{"progress": False, "device": "cpu"} | options)


def read(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks_registry, "_NETWORKS", networks_registry.network_functions() | NETS)
        return load_source(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("uninterrupted"))


# ------------------------------------------------------------------------------------------------------- kill -9

STEP = random.randrange(5, 20)  # another one with another ANN2SNN_TEST_SEED
KILLS = {"step": STEP, "checkpoint": 3, "weights": 1}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(what, when, root):
    """A training that is killed in a step, half-way through writing a checkpoint, or the finished weights."""
    from ann2snn.training import lightning_module

    calls = iter(range(1, 1000))
    if what == "step":
        step = lightning_module.SourceClassifier.training_step
        lightning_module.SourceClassifier.training_step = lambda *a: die() if next(calls) > when else step(*a)
        return run(root)

    write = checkpoints.write_atomic

    def half(path, content):
        if path.name == {"checkpoint": "last.ckpt", "weights": "weights.pt"}[what] and next(calls) == when:
            os.fsync = lambda file: die()
            content = content[: len(content) // 2]
        write(path, content)

    lightning_module.write_atomic = half
    return run(root, write_atomic=half)


if __name__ == "__main__":  # one import of Lightning for all kills
    import ann2snn.training.lightning_module  # noqa: F401

    for what, when in KILLS.items():
        child = os.fork()
        if child == 0:
            killed_at(what, int(sys.argv[2]) if what == "step" else when, Path(sys.argv[1], what))
            os._exit(0)
        print(what, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, __file__, str(root), str(STEP)]
    child = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert child.stdout.splitlines() == [f"{what} {-signal.SIGKILL}" for what in KILLS], child.stderr
    return root


@pytest.mark.parametrize("what", KILLS)
def test_killed_and_resumed_equals_uninterrupted(what, killed, finished):
    files = {path.name: path for path in (killed / what).rglob("*") if path.is_file()}
    assert "last.ckpt" in files and "weights.pt" not in files
    assert len(files) == (2 if what == "step" else 3)  # the lock; and the half-written file
    checkpoint = torch.load(files["last.ckpt"], weights_only=True)
    epochs = {"step": STEP // 5, "checkpoint": 2, "weights": 4}[what]
    assert checkpoint["global_step"] == 5 * epochs

    path = run(killed / what)
    assert path.relative_to(killed / what) == finished.relative_to(finished.parents[4])
    assert list(path.parent.iterdir()) == [path]
    (net, info), (expected, _) = read(path), read(finished)
    for name, value in expected.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), f"{name}, killed in step {STEP}"
    before = checkpoint["callbacks"]["EpochCheckpoint"]["seconds"]
    assert info["training_seconds"] == before if what == "weights" else info["training_seconds"] > before > 0
    assert info["trained_on"] == [hardware_description("cpu")]


def test_a_source_states_where_it_was_trained_in_the_order_of_its_epochs(tmp_path, monkeypatch):
    plan = dataclasses.replace(SHORT, lr=0.0)
    calls = []

    def stop(self, trainer, module):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("ann2snn.training.lightning_module.hardware_description", lambda device: "the first machine")
    monkeypatch.setattr("ann2snn.training.lightning_module.EpochCheckpoint.on_train_epoch_start", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recipe=plan)
    monkeypatch.setattr("ann2snn.training.lightning_module.hardware_description", lambda device: "the second")
    _, info = read(run(tmp_path, recipe=plan))
    assert info["trained_on"] == ["the first machine", "the second"]


# ------------------------------------------------------------------------------------------- seeds, cache, recipe


def test_same_seed_same_weights_other_seed_other_weights(finished, tmp_path):
    same, other = run(tmp_path / "same"), run(tmp_path / "other", seed=1)
    assert read(same)[1]["weights_hash"] == read(finished)[1]["weights_hash"] != read(other)[1]["weights_hash"]


def test_finished_source_is_found_and_nothing_is_written(finished):
    root, before = finished.parents[4], finished.stat()
    assert run(root, logger=lambda info: pytest.fail("nothing to train")) == finished
    assert finished.stat() == before and list(finished.parent.iterdir()) == [finished]


def test_callers_random_state_and_folder_are_untouched(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    states = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype()
    path = run(tmp_path / "root")
    read(path)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype()) == states[1:]
    assert os.listdir(tmp_path) == ["root"]
    assert [p for p in (tmp_path / "root").rglob("*") if p.is_file()] == [path]
    assert capfd.readouterr() == ("", "")


CHANGED = {
    field.name: {int: 3, float: 0.123, str: "linear", bool: True, tuple: (1,)}.get(type(getattr(SHORT, field.name)))
    for field in dataclasses.fields(Recipe)
} | {"nesterov": False, "gamma": 0.5, "start": recipes.WarmStart("digits")}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_of_a_recipe_is_in_its_key(field):
    old = getattr(SHORT, field)
    changed = dataclasses.replace(SHORT, **{field: CHANGED[field]})
    assert getattr(changed, field) != old
    assert changed.key != SHORT.key and changed.key.startswith(f"{changed.name}-")
    assert dataclasses.replace(changed, **{field: old}).key == SHORT.key


def test_cache_has_a_place_for_every_source(tmp_path, monkeypatch):
    monkeypatch.setattr("ann2snn.training.lightning_module.fit", lambda *a, **k: {"training_seconds": 0.0})
    digits = small_digits()
    runs = [
        run(tmp_path),
        run(tmp_path, activation="threshold_relu:1"),
        run(tmp_path, activation="threshold_relu:2"),
        run(tmp_path, network="digits_plain"),
        run(tmp_path, seed=1),
        run(tmp_path, recipe=dataclasses.replace(SHORT, momentum=0.8)),
        train(digits, "digits_plain", "relu", 0, tmp_path, device="cpu"),
        train(dataclasses.replace(digits, hash="0" * 64), "digits_plain", "relu", 0, tmp_path, device="cpu"),
        train(dataclasses.replace(digits, name="other"), "digits_plain", "relu", 0, tmp_path, device="cpu"),
    ]
    assert len(set(runs)) == len(runs)


def test_learning_rate():
    linear = Recipe("r", epochs=4, batch_size=1, lr=1.0, warmup_epochs=1.0, schedule="linear")
    assert [linear.lr_factor(step, 3) for step in range(13)] == pytest.approx(
        [1 / 4, 2 / 4, 3 / 4, 1, 8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9, 0]
    )
    cosine = dataclasses.replace(linear, schedule="cosine", warmup_epochs=0.0)
    assert [cosine.lr_factor(step, 1) for step in range(5)] == pytest.approx(
        [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0]
    )


def test_recipes():
    names = [("digits", "digits_plain"), ("digits", "test_resnet"), ("cifar100", "cifar_resnet20")]
    names += [("cifar10", "resnet18"), ("cifar10", "deng_vgg16"), ("cifar10", "deng_vgg16_bn"), ("fashion_mnist", "x")]
    chosen = [recipes.recipe_of(*pair).name for pair in names]
    assert chosen == ["digits", "digits", "cifar", "cifar", "bn_free", "cifar_short", "default"]
    assert recipes.recipe_of("cifar10", "deng_vgg16", "deng2021").name == "deng2021"
    with pytest.raises(UserError, match="No recipe is called 'deng'; the nearest are: deng2021"):
        recipes.recipe_of("cifar10", "deng_vgg16", "deng")


def test_keys_of_recipes_stay_when_recipes_learn_new_fields():
    assert recipes.RECIPES["digits"].key == "digits-b656cf1e"
    assert recipes.RECIPES["cifar"].key == "cifar-0a702635"
    keys = {dataclasses.replace(SHORT, **change).key for change in ({}, {"nesterov": False}, {"milestones": (1,)})}
    assert len(keys) == 3


def test_the_paper_s_rate_falls_at_its_milestones():
    paper = recipes.RECIPES["deng2021"]
    rates = [
        paper.lr * paper.lr_factor(step=epoch * 351, steps_per_epoch=351) for epoch in (0, 99, 100, 139, 140, 240, 299)
    ]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-5, 1e-5])


def test_batch_norms_start_with_the_scale_of_the_recipe(tmp_path):
    still = dataclasses.replace(SHORT, lr=0.0, epochs=1)
    for gamma in (None, 0.25):
        net, _ = read(run(tmp_path, recipe=dataclasses.replace(still, gamma=gamma)))
        assert (net[1].weight == (gamma or 1.0)).all()


def test_finished_weights_in_half_precision(tmp_path):
    whole, _ = read(run(tmp_path, recipe=SHORT))
    path = run(tmp_path, recipe=dataclasses.replace(SHORT, name="half", half=True))
    rounded, info = read(path)
    for name, value in rounded.state_dict().items():
        assert value.dtype == whole.state_dict()[name].dtype
        assert torch.equal(value, whole.state_dict()[name].half().to(value.dtype))
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    assert info["weights_hash"] == weights_hash(rounded) != weights_hash(whole)


def test_pytorch_s_own_initialisation_is_an_option(tmp_path):
    lazy = dataclasses.replace(SHORT, lr=0.0, epochs=1)
    for initialisation in ("network", "torch"):
        path = run(tmp_path, "kaiming_net", recipe=dataclasses.replace(lazy, initialisation=initialisation))
        weight = read(path)[0][0].weight
        bound = (1 / 9) ** 0.5  # PyTorch's uniform distribution for 9 inputs
        assert (weight.abs().max() <= bound) == (initialisation == "torch")


@torch.no_grad()
def test_he_s_initialisation_keeps_the_second_moment_from_layer_to_layer():
    """On layers that widen, where fan-out shrinks it."""
    net = nn.Sequential(nn.Conv2d(4, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 4096), nn.ReLU())
    initialization.reset_parameters(net, 0, "fan_in")
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("bias"))
    x = torch.randn(64, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    for layer in (net[:2], net[2:]):
        before, x = x, layer(x)
        assert x.square().mean().item() == pytest.approx(before.square().mean().item(), rel=0.1)


def test_a_training_continues_from_another_source(tmp_path, monkeypatch):
    """From a ReLU network with batch norm to a threshold ReLU network without: the same function to begin with."""
    before = dataclasses.replace(SHORT, name="before")
    monkeypatch.setitem(recipes.RECIPES, "before", before)
    start = recipes.WarmStart("before", "dropout_net", activation="relu")
    after = dataclasses.replace(SHORT, name="after", lr=0.0, epochs=1, start=start)
    tuned, info = read(run(tmp_path, "plain_net", "threshold_relu:100", recipe=after))
    folders = sorted(p.name for p in (tmp_path / "sources" / "digits").iterdir())
    assert folders == ["dropout_net-relu", "plain_net-threshold_relu-100"] and info["recipe"] == after.key
    trained, _ = read(run(tmp_path, recipe=before))
    images, _ = next(small_digits().train.batches(80))
    assert torch.allclose(tuned(images), trained(images), atol=1e-5)
    with pytest.raises(UserError, match="digits_plain cannot start from these weights, as only one of the two has "):
        run(tmp_path, "digits_plain", recipe=after)
    key = after.key
    monkeypatch.setitem(recipes.RECIPES, "before", dataclasses.replace(before, epochs=9))
    assert after.key != key


def test_a_training_that_continues_may_train_thresholds(tmp_path, monkeypatch):
    """They start in the unit of the activations, gamma times as large as in a network without gamma."""
    before = dataclasses.replace(SHORT, name="before", gamma=0.5)
    monkeypatch.setitem(recipes.RECIPES, "before", before)
    start = recipes.WarmStart("before", activation="relu")
    after = dataclasses.replace(SHORT, name="after", lr=0.0, epochs=1, start=start)
    tuned, _ = read(run(tmp_path, "digits_plain", "tcl", recipe=after))
    trained, _ = read(run(tmp_path, "digits_plain", "relu", recipe=before))
    state = tuned.state_dict()
    thresholds = [state.pop(name).item() for name in list(state) if name.endswith("y_th")]
    assert thresholds and set(thresholds) == {2.0}
    assert weights_hash(state) == weights_hash(trained)


def test_order_of_an_epoch():
    from ann2snn.training.lightning_module import EpochOrder

    def order(seed, epoch):
        sampler = EpochOrder(50, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert sorted(order(0, 0)) == list(range(50))
    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_every_epoch_has_its_own_order(tmp_path, monkeypatch):
    from ann2snn.training.lightning_module import EpochOrder

    orders, draw = [], EpochOrder.__iter__
    monkeypatch.setattr(EpochOrder, "__iter__", lambda self: iter(orders.append(list(draw(self))) or orders[-1]))
    run(tmp_path)
    assert len(orders) == len(set(map(tuple, orders))) == SHORT.epochs


# ----------------------------------------------------------------------------------------------------- the training


def test_bf16_with_channels_last_gives_float32_weights_as_they_are_named(tmp_path):
    recipe = dataclasses.replace(SHORT, epochs=1, precision="bf16-mixed", channels_last=True)
    net, _ = read(run(tmp_path, "digits_residual", "threshold_relu:1", recipe=recipe))
    plain, _ = read(run(tmp_path, "digits_residual", "threshold_relu:1", recipe=dataclasses.replace(SHORT, epochs=1)))
    assert weights_hash(net) != weights_hash(plain)
    for value in net.parameters():
        assert value.dtype == torch.float32 and value.is_contiguous()


def test_it_learns_and_logs_every_epoch(tmp_path):
    from pytorch_lightning.loggers import Logger

    class Memory(Logger):
        name = version = "memory"
        rows = {}

        def log_metrics(self, metrics, step=None):
            self.rows.setdefault(int(metrics["epoch"]), {}).update(metrics)

        def log_hyperparams(self, *args, **kwargs):
            pass

    logger, recipe = Memory(), dataclasses.replace(SHORT, epochs=12, augmentation=None)
    run(tmp_path, "digits_residual", recipe=recipe, logger=lambda info: logger)
    assert list(logger.rows) == list(range(12))
    for row in logger.rows.values():
        assert row.keys() == {"epoch", "lr", "train/loss", "train/accuracy", "validation/accuracy"}
    assert logger.rows[11]["train/loss"] < 0.2 < logger.rows[0]["train/loss"]
    assert logger.rows[11]["train/accuracy"] > 0.95 and logger.rows[11]["validation/accuracy"] > 0.7
    assert logger.rows[1]["lr"] == pytest.approx(0.05) and logger.rows[0]["lr"] == pytest.approx(0.05 / 6)


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("ann2snn.progress.ProgressBar.INTERVAL", -1.0)
    run(tmp_path, recipe=dataclasses.replace(SHORT, epochs=2), progress=True)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 1 + 10
    assert lines[:2] == ["digits dropout_net relu seed 0: training", "digits dropout_net relu seed 0: 10 %"]
    assert lines[-1].startswith("digits dropout_net relu seed 0: 100 %, epoch 1/2: validation ")


def test_divergence_is_reported_and_leaves_nothing(tmp_path):
    recipe = dataclasses.replace(SHORT, lr=1e30, warmup_epochs=0.0)
    with pytest.raises(
        UserError, match=r"digits digits_plain relu seed 0 diverged in epoch 1; .* lower lr than 1e\+30"
    ):
        run(tmp_path, "digits_plain", recipe=recipe)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_ctrl_c_is_a_keyboard_interrupt_and_stays_one(tmp_path, monkeypatch):
    def interrupted(self, batch, index):
        raise KeyboardInterrupt

    monkeypatch.setattr("ann2snn.training.lightning_module.SourceClassifier.training_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert not list(tmp_path.rglob("weights.pt"))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"device": "tpu"}, "No device is called 'tpu'; known are auto, cpu and cuda"),
        ({"network": "digits_plane"}, "nearest are: digits_plain"),
        ({"activation": "rellu"}, "No activation is called 'rellu'"),
    ],
)
def test_wrong_names(options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_absent_cuda(tmp_path):
    assert devices.resolve_device("auto") == "cpu"
    with pytest.raises(UserError, match="no CUDA device"):
        run(tmp_path, device="cuda")


# ----------------------------------------------------------------------------------------------------- load_source


def test_info(finished):
    net, info = read(finished)
    digits = small_digits()
    assert not net.training
    assert info["weights_hash"] == weights_hash(net) == weights_hash(net.state_dict())
    assert info["hyperparameters"] == dataclasses.asdict(SHORT) and info["training_seconds"] > 0
    expected = {
        "dataset": "digits",
        "data_hash": digits.hash,
        "network": "dropout_net",
        "activation": "relu",
        "seed": 0,
    }
    expected |= {"recipe": SHORT.key, "num_classes": 10, "in_chans": 1, "shape": (1, 8, 8)}
    assert {name: info[name] for name in expected} == expected


def edited(finished, edit):
    source = torch.load(finished, weights_only=True)
    edit(source)
    file = io.BytesIO()
    torch.save(source, file)
    return file.getvalue()


def set_first(state, name, value):
    state[name].view(-1)[0] = value


DAMAGED = {
    "empty": (lambda path: b"", "is damaged"),
    "truncated": (lambda path: path.read_bytes()[:-1000], "is damaged"),
    "text": (lambda path: b"epoch,accuracy\n1,0.5\n", "is damaged"),
    "code": (lambda path: pickle.dumps(print), "is damaged, or was not written by torch.save"),
    "whole module": (lambda path: module_bytes(), "holds a whole pickled network, or other objects that run code"),
    "a tensor": (lambda path: tensor_bytes(torch.ones(3)), "is not a source of ann2snn"),
    "state dict": (lambda path: tensor_bytes({"fc.weight": torch.ones(3)}), "is not a source of ann2snn"),
    "numbers": (lambda path: tensor_bytes({"info": 3, "state_dict": {}}), "is not a source of ann2snn"),
    "lost": (lambda path: edited(path, lambda s: s["state_dict"].popitem()), "is not a source of ann2snn"),
    "NaN": (
        lambda path: edited(path, lambda s: set_first(s["state_dict"], "0.weight", torch.nan)),
        r"NaN .* in 0\.weight",
    ),
    "inf": (
        lambda path: edited(path, lambda s: set_first(s["state_dict"], "1.bias", torch.inf)),
        r"infinity in 1\.bias",
    ),
    "changed": (lambda path: edited(path, lambda s: set_first(s["state_dict"], "0.weight", 7.0)), "other weights than"),
    "unknown": (lambda path: edited(path, lambda s: s["info"].update(network="digits_plane")), "are: digits_plain"),
}


def module_bytes():
    return tensor_bytes(nn.Linear(2, 2))


@pytest.mark.parametrize("kind", DAMAGED)
def test_other_files_are_refused_in_one_sentence(kind, finished, tmp_path):
    make, message = DAMAGED[kind]
    path = tmp_path / "file.pt"
    path.write_bytes(make(finished))
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pt cannot be read: No such file or directory"):
        load_source(tmp_path / "absent.pt")
    with pytest.raises(UserError, match="is a folder, not a file; name the weights.pt of a trained source"):
        load_source(tmp_path)


def test_weights_hash_sees_names_shapes_dtypes_and_bytes():
    state = {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}
    variants = [
        state,
        {"b": state["a"], "n": state["n"]},
        state | {"a": state["a"].view(3, 2)},
        state | {"n": torch.tensor(3, dtype=torch.int32)},
        state | {"a": -state["a"]},
    ]
    assert len({weights_hash(s) for s in variants}) == len(variants)
    transposed = state["a"].t().contiguous().t()  # the same values, laid out otherwise
    assert weights_hash({"n": state["n"], "a": transposed}) == weights_hash(state)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("activation", [None, "tcl", "qcfs:4", "slip_relu:4:0.5"])
def test_gamma_is_a_change_of_units(activation, norm):
    """With activations a quarter as large and threshold 1 a network learns what it learns with threshold 4: bit for
    bit, as all factors are powers of two and the epsilon of batch norm is lost in rounding. A trained threshold has its
    own start in both."""
    from ann2snn.training import lightning_module

    def learnt(y_th, gamma):
        torch.manual_seed(0)
        act = activations.make(activation) if activation else partial(ThresholdReLU, y_th)
        layers = [
            nn.Conv2d(1, 4, 3, bias=not norm), norm and nn.BatchNorm2d(4, eps=1e-30), act(),
            nn.Conv2d(4, 4, 3, bias=not norm), norm and nn.BatchNorm2d(4, eps=1e-30), act(),
            nn.Flatten(), nn.Linear(64, 5), act(), nn.Linear(5, 3),
        ]  # fmt: skip
        net = nn.Sequential(*filter(None, layers))
        recipe = Recipe("any", 1, 8, lr=0.5, weight_decay=0.25, gamma=gamma)
        if gamma:
            initialization.rescale_activations(net, gamma)
        optimizer = torch.optim.SGD(lightning_module.parameter_groups(net, recipe), recipe.lr, 0.5, nesterov=True)
        images = torch.randn(8, 1, 8, 8)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), torch.arange(8) % 3).backward()
            optimizer.step()
        return net(images), list(net.parameters())

    (one, ours), (other, theirs) = learnt(1.0, 0.25), learnt(4.0, None)
    assert torch.equal(one, other)
    threshold = [1 / 4] * bool(activation)
    scales = [1, 1 / 4, 1 / 4, *threshold] * 2 if norm else [1 / 4, 1 / 4, *threshold, 1, 1 / 4, *threshold]
    scales += [1, 1 / 4, *threshold, 4, 1]
    assert all(torch.equal(p, q * scale) for p, q, scale in zip(ours, theirs, scales, strict=True))


def test_candidates_for_networks_without_batch_norm_are_compared_on_validation(tmp_path, monkeypatch, capsys):
    from ann2snn.benchmarks.studies import recipe_search  # type: ignore

    monkeypatch.setitem(recipes.RECIPES, "squeezed1", None)  # which is taken away again afterwards
    which = f"--dataset digits --network digits_plain --root {tmp_path} --factor".split() + ["lr 0.1", "batch 64"]
    monkeypatch.setattr("sys.argv", ["recipes", *which])
    assert recipe_search.main() == 0
    table = capsys.readouterr().out
    paths = sorted(tmp_path.rglob("weights.pt"), key=lambda path: path.stat().st_mtime)
    for path, line in zip(paths, table.splitlines()[2:], strict=True):
        correct = recipe_search.SourceANN(load("digits"), path).result("validation")["correct"]
        assert f" {100 * correct / 360:.2f} " in line
    monkeypatch.setattr("sys.argv", ["recipes", *which, "--network", "no_such_network"])
    assert recipe_search.main() == 2 and "no_such_network" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["recipes", *which])
    monkeypatch.setattr(training_train, "untrained_network", lambda *_: pytest.fail("it was trained again"))
    assert recipe_search.main() == 0 and capsys.readouterr().out == table


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The checkpoint of a training that was stopped after its second epoch."""
    from ann2snn.training import lightning_module

    root, calls = tmp_path_factory.mktemp("interrupted"), []

    def stop(self, trainer, module):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lightning_module.EpochCheckpoint, "on_train_epoch_start", stop)
        run(root)
    (checkpoint,) = (path for path in root.rglob("*") if path.is_file())
    return root, checkpoint


def unsealed(content, edit=lambda checkpoint: None):
    """As an older version wrote it, after an edit."""
    checkpoint = checkpoints.load_tensors(content)
    edit(checkpoint)
    return tensor_bytes(checkpoint)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGED_CHECKPOINTS = {
    "empty": lambda c: b"",
    "junk": lambda c: b"junk",
    "half": lambda c: c[: len(c) // 2],
    "a bit of a weight": lambda c: flipped(c, c.index(b"/data/0") + 200),
    "a bit of an older version": lambda c: flipped(unsealed(c), unsealed(c).index(b"/data/0") + 200),
    "no state_dict": lambda c: unsealed(c, lambda x: x.pop("state_dict")),
    "other weights": lambda c: unsealed(c, lambda x: x["state_dict"].popitem()),
    **{
        f"no {part}": lambda c, part=part: unsealed(c, lambda x: x.pop(part))
        for part in ("loops", "lr_schedulers", "optimizer_states", "callbacks")
    },
    "an empty loops": lambda c: unsealed(c, lambda x: x.update(loops={})),
}


@pytest.mark.parametrize("kind", DAMAGED_CHECKPOINTS)
def test_a_damaged_checkpoint_is_put_aside(kind, interrupted, tmp_path, capsys):
    content = DAMAGED_CHECKPOINTS[kind](interrupted[1].read_bytes())
    checkpoint, net = tmp_path / "last.ckpt", dropout_net(num_classes=10, in_chans=1, act_layer=nn.ReLU)
    checkpoint.write_bytes(content)
    assert not checkpoints.can_resume(checkpoint, net)
    err = capsys.readouterr().err
    assert err.startswith(f"{checkpoint} is damaged (") and err.count("\n") == 1
    assert "it is now last.ckpt.damaged, and the training starts again." in err
    assert list(tmp_path.iterdir()) == [tmp_path / "last.ckpt.damaged"]
    assert (tmp_path / "last.ckpt.damaged").read_bytes() == content


@pytest.mark.parametrize("version", ["damaged", "older"])
def test_a_training_with_such_a_checkpoint_gives_the_same_weights(version, interrupted, finished, tmp_path, capsys):
    root = shutil.copytree(interrupted[0], tmp_path / "copy")
    checkpoint = root / interrupted[1].relative_to(interrupted[0])
    content = checkpoint.read_bytes()
    damaged = flipped(content, content.index(b"/data/0") + 200)
    checkpoint.write_bytes(damaged if version == "damaged" else unsealed(content))
    path = run(root, progress=True)
    assert read(path)[1]["weights_hash"] == read(finished)[1]["weights_hash"]
    err = capsys.readouterr().err
    assert ("training resumes" in err) == (version == "older") == ("is damaged" not in err)
    assert list(path.parent.iterdir()) == [path]
