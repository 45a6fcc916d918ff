"""Public checkpoints as sources; the files here are fabricated, and the hashes that pin them too."""

import csv
import dataclasses
import hashlib
import io
import pickle
from pathlib import Path

import authors
import pytest
import torch
from sources import put
from torch import nn

from ann2snn.data.registry import load, names
from ann2snn.data.split import Normalise
from ann2snn.errors import UserError
from ann2snn.experiments.source import SourceANN
from ann2snn.leaderboard.rows import sections
from ann2snn.networks import registry as networks_registry
from ann2snn.networks.registry import create
from ann2snn.records import job, store
from ann2snn.tracking import wandb_runs
from ann2snn.training import checkpoints, pretrained, state_dict_formats
from ann2snn.training.pretrained import CHECKPOINTS, import_state_dict, import_weights

PUBLIC = "resnet20-akamaster"


def pin(monkeypatch, name, file, checkpoint=None):
    """Makes `file` the one that `name` stands for."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    checkpoint = dataclasses.replace(checkpoint or CHECKPOINTS[name], file=file.name, sha256=digest)
    monkeypatch.setitem(CHECKPOINTS, name, checkpoint)
    return checkpoint


def published(path, network="cifar_resnet20", in_chans=3):
    """A file as akamaster publishes it, of a network that no one trained."""
    net = create(network, num_classes=10, in_chans=in_chans)
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    return net


def test_the_pins():
    checkpoint = CHECKPOINTS[PUBLIC]
    assert checkpoint.sha256 == "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8"
    assert (checkpoint.file, checkpoint.recipe) == ("resnet20-12fca82f.th", "akamaster-12fca82f")
    assert checkpoint.normalise == Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255.0)
    assert {c.network for c in CHECKPOINTS.values()} <= set(networks_registry.names())
    assert {c.dataset for c in CHECKPOINTS.values()} <= set(names())


def test_a_checkpoint_becomes_a_source(ann2snn, tmp_path, monkeypatch):
    net = published(tmp_path / "file.th")
    recipe = pin(monkeypatch, PUBLIC, tmp_path / "file.th").recipe
    code, out, err = ann2snn(f"import {PUBLIC} file.th --runs here")
    assert (code, err) == (0, "")
    path = Path(f"here/sources/cifar10/cifar_resnet20-relu/imported-{recipe}/weights.pt")
    named = f"--dataset cifar10 --network cifar_resnet20 --activation relu --recipe {recipe}"
    assert out == f"{path}\nnext: ann2snn sweep {named} --runs here\n"
    assert path == pretrained.find("here", "cifar10", "cifar_resnet20", "relu", recipe)
    found, info = checkpoints.load_source(path)
    assert checkpoints.weights_hash(found) == info["weights_hash"] == checkpoints.weights_hash(net)
    assert (info["seed"], info["data_hash"], info["training_seconds"]) == (None, None, None)
    assert Normalise(**info["normalization"]) == CHECKPOINTS[PUBLIC].normalise
    assert info["checkpoint"]["licence"] == "BSD-2-Clause"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "file.th", tmp_path / path]


@pytest.mark.parametrize(
    "file, says",
    [
        (
            "absent.th",
            r"absent.th cannot be read \(No such file .* resnet20-12fca82f.th of https://github.com/akamaster/",
        ),
        (
            "another.th",
            r"another.th is not resnet20-12fca82f.th of .*: its sha256 is [0-9a-f]{64}, not 12fca82f0bebc41",
        ),
    ],
)
def test_any_other_file_is_refused(file, says, tmp_path):
    published(tmp_path / "another.th")
    with pytest.raises(UserError, match=says) as caught:
        import_weights(PUBLIC, tmp_path / file, tmp_path / "runs")
    assert "\n" not in str(caught.value) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", ["text", "a tensor", "code", "another network", "one weight too few"])
def test_a_pinned_file_must_hold_the_networks_weights(content, tmp_path, monkeypatch):
    file = tmp_path / "file.th"
    published(file, "cifar_resnet32" if content == "another network" else "cifar_resnet20")
    if content == "text":
        file.write_text("epoch,accuracy\n")
    elif content == "a tensor":
        torch.save(torch.ones(3), file)
    elif content == "code":
        torch.save({"state_dict": create("digits_plain", num_classes=10, in_chans=1)}, file)
    elif content == "one weight too few":
        held = torch.load(file)
        del held["state_dict"]["module.linear.bias"]
        torch.save(held, file)
    pin(monkeypatch, PUBLIC, file)
    with pytest.raises(UserError, match="file.th does not hold the weights of cifar_resnet20") as caught:
        import_weights(PUBLIC, file, tmp_path / "runs")
    assert "\n" not in str(caught.value) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "line, says",
    [
        ("import resnet20 file.th", "No checkpoint is called 'resnet20'; the nearest are: resnet20-akamaster"),
        (f"import {PUBLIC}", "file"),
        ("sweep --dataset digits --network digits_plain --recipe a-01234567 --seed 1", "weights, which have no seed"),
        (
            "sweep --dataset digits --network digits_plain --recipe a-01234567",
            "has no weights a-01234567 of digits_plain with threshold",
        ),
    ],
)
def test_bad_input_is_one_sentence(ann2snn, line, says):
    code, _, err = ann2snn(line)
    assert code == 2 and says in err and len(err.splitlines()) == 1


def test_data_in_another_normalisation():
    digits = load("digits")
    digits = dataclasses.replace(digits, train=digits.train.augmented("crop_flip"))
    other = digits.normalised({"mean": (0.25,), "std": (0.5,), "scale": 8.0})
    assert other.hash == digits.hash and digits.normalised(None) is digits
    for split in ("validation", "test"):
        (x, labels), (y, same) = (next(getattr(d, split).batches(360)) for d in (digits, other))
        assert torch.equal(y, 4 * x - 0.5) and torch.equal(labels, same)  # 16 / 8 / 0.5, 0.25 / 0.5
    assert other.train.augment is digits.train.augment and torch.equal(other.train.indices, digits.train.indices)


@pytest.fixture
def twins(tmp_path, monkeypatch):
    """A source of the digits, and a checkpoint that does the same to images of twice the contrast."""
    trained = put(tmp_path / "runs")
    state = checkpoints.load_source(trained)[0].state_dict()
    state["0.weight"] = state["0.weight"] / 2
    torch.save({"state_dict": state}, tmp_path / "twin.th")
    kind = {"dataset": "digits", "network": "digits_plain", "classes": 10, "normalise": Normalise((0.0,), (0.5,), 16.0)}
    twin = dataclasses.replace(CHECKPOINTS[PUBLIC], author="someone", activation="threshold_relu:1", **kind)
    recipe = pin(monkeypatch, "twin", tmp_path / "twin.th", twin).recipe
    return trained, import_weights("twin", tmp_path / "twin.th", tmp_path / "runs")[0], recipe


def test_a_sweep_of_imported_weights(ann2snn, twins, tmp_path):
    line = "sweep --dataset digits --network digits_plain --T 2 4 --wandb off --device cpu"
    assert ann2snn(line)[0] == 0
    code, out, err = ann2snn(f"{line} --recipe {twins[2]}")
    assert code == 0 and "digits_plain  threshold_relu:1  -" in out, err
    imported, trained = store.load_all("runs")
    assert (imported["job"]["seed"], imported["job"]["recipe"]) == (None, twins[2])
    path = job.Job(**imported["job"]).path("runs")
    assert path.exists() and path.parent == Path("runs/records/digits/digits_plain/threshold_relu-1/imported")
    assert imported["ann"] == trained["ann"] | {"validation": {"n": 0, "correct": 0}}
    assert imported["T"]["2"]["validation"] == {"n": 0, "correct": 0, "undecided": 0}
    for t in ("2", "4"):
        for what in ("test", "spikes", "operations"):
            assert imported["T"][t][what] == trained["T"][t][what], what

    rows = list(csv.DictReader(Path("runs/leaderboard.csv").read_text().splitlines()))
    assert len(rows) == 4
    for row in rows:
        assert (row["validation_mean"] == "") == (row["recipe"] == twins[2])
    code, out, _ = ann2snn(f"recheck {path}")
    assert code == 0 and "agrees (the same environment" in out
    assert ann2snn("publish --uncommitted")[0] == 0  # the record goes out, the weights of others do not
    assert len(store.load_all("results")) == 2
    assert [p.name.split("-seed0-")[0] for p in Path("results/weights/digits").iterdir()] == [
        "digits_plain-threshold_relu-1"
    ]


def test_inspect_calibrates_on_the_images_that_the_network_wants(ann2snn, twins):
    (_, trained, _), (_, imported, _) = (ann2snn(f"inspect {path}") for path in twins[:2])
    marks = [out.partition("calibrated on")[2] for out in (trained, imported)]
    assert "V_th" in marks[0] and marks[0] == marks[1]


def test_imported_weights_are_of_one_dataset(twins):
    digits = load("digits")
    with pytest.raises(UserError, match="was trained on other data than this others"):
        SourceANN(dataclasses.replace(digits, name="others"), twins[1])
    copy = dataclasses.replace(digits, hash="0" * 64)
    assert SourceANN(copy, twins[1]).data.hash == copy.hash
    with pytest.raises(UserError, match="was trained on other data"):
        SourceANN(copy, twins[0])


def test_validation_of_imported_weights_is_no_validation(make_record):
    for seed, known in ((None, False), (0, True)):
        record = make_record(seed=seed, T={8: 9}, ann_validation=9)
        (section,) = sections([record])
        (row,) = section.rows
        assert (row.accuracy(8, "validation") is not None) is known and row.accuracy(8) is not None
        assert row.smallest_T == (8 if known else None)

        class Run:
            logged, summary = {}, {}

            def log(self, values):
                self.logged = self.logged | values

            def define_metric(self, *_, **__): ...

        class Wandb:
            Table = staticmethod(lambda *_: None)

        run = Run()
        wandb_runs._log_results(record, Wandb, run)
        assert ("snn/validation" in run.logged, "ann/validation" in run.summary) == (known, known)
        assert "snn/test" in run.logged and "ann/test" in run.summary
        Run.summary.clear()


QCFS = state_dict_formats.FORMATS["qcfs"].url
OF_AUTHORS = {  # by our network: format, activation, what their code makes of a state dict
    "deng_vgg16": ("deng2021", "threshold_relu:2", authors.deng_vgg16, authors.deng_vgg16_forward),
    "deng_resnet20": ("deng2021", "threshold_relu:1", authors.deng_resnet20, authors.deng_resnet20_forward),
    "cifar_vgg16": ("snn_calibration", "relu", authors.li_vgg16, authors.li_vgg16_forward),
    "li_resnet20": ("snn_calibration", "relu", authors.li_resnet20, authors.li_resnet20_forward),
    "qcfs_vgg16": ("qcfs", "qcfs:8", authors.qcfs_vgg16, authors.qcfs_vgg16_forward),
    "qcfs_resnet20": ("qcfs", "qcfs:4", authors.qcfs_resnet20, authors.qcfs_resnet_forward),
    "cifar_resnet18": ("qcfs", "qcfs:4", authors.qcfs_resnet18, authors.qcfs_resnet_forward),
}


@pytest.mark.parametrize("network", OF_AUTHORS)
def test_a_state_dict_of_authors_computes_what_their_code_does(network, tmp_path):
    name, activation, make, forward = OF_AUTHORS[network]
    state = make(10)
    torch.save(dict(state), tmp_path / "file.pth")
    chosen = {"dataset": "cifar10", "network": network, "activation": activation}
    path, info = import_state_dict(name, tmp_path / "file.pth", tmp_path / "runs", **chosen)
    net, _ = checkpoints.load_source(path)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    value = float(activation.partition(":")[2] or 0)
    with torch.no_grad():
        found, expected = net.double()(x), forward(state, x, *[value] if value else [])
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    digest = hashlib.sha256((tmp_path / "file.pth").read_bytes()).hexdigest()
    assert {what: info[what] for what in chosen} == chosen and info["recipe"] == f"{name}-{digest[:8]}"
    assert (info["seed"], info["data_hash"], info["num_classes"], info["shape"]) == (None, None, 10, (3, 32, 32))
    assert info["normalization"] == {
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2023, 0.1994, 0.2010),
        "scale": 255.0,
    }
    url = {"deng2021": "Jackn0/snn_optimal_conversion_pipeline", "snn_calibration": "yhhhli/SNN_Calibration"}
    url = f"https://github.com/{url.get(name, 'putshua/ANN_SNN_QCFS')}"
    assert info["checkpoint"] == {"format": name, "url": url, "file": "file.pth", "sha256": digest}
    for old in (path, tmp_path / "file.pth"):
        old.unlink()  # these are large


@pytest.mark.parametrize(
    "name, network, state",
    [
        ("deng2021", "deng_cifarnet", lambda: authors.deng_cifarnet(1000)),
        ("deng2021", "deng_vgg16_imagenet", lambda: authors.deng_vgg16(1000, kernel=3, features=7 * 7)),
        ("qcfs", "qcfs_vgg16_imagenet", lambda: authors.qcfs_vgg16(1000, features=7 * 7)),
        ("qcfs", "cifar_resnet34", lambda: authors.qcfs_resnet34(1000)),
    ],
)
def test_the_names_of_larger_networks(name, network, state, monkeypatch):
    def weights(self, name, *shape, bias=True):  # that take no memory
        self[f"{name}.weight"] = torch.zeros(1).expand(shape)
        self |= {f"{name}.bias": torch.zeros(shape[0])} if bias else {}

    monkeypatch.setattr(authors.State, "weights", weights)
    form = state_dict_formats.FORMATS[name]
    with torch.device("meta"):
        activation = {"deng2021": "threshold_relu:3", "qcfs": "qcfs:8"}[name]
        net = create(network, num_classes=1000, in_chans=3, activation=activation)
    found = state_dict_formats.translate(state(), form, network, net)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_every_format_has_the_normalisation_of_its_authors():
    deng, li, qcfs = (form.normalise["cifar100"] for form in state_dict_formats.FORMATS.values())
    for name in ("deng2021", "qcfs"):
        assert state_dict_formats.FORMATS[name].normalise["imagenet"] == Normalise(
            (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        )
    assert deng == li == Normalise((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    pixels = torch.tensor([129, 124, 112], dtype=torch.uint8).reshape(3, 1, 1)
    expected = torch.tensor([-0.3 / 68.2, -0.1 / 65.4, -0.4 / 70.4])
    torch.testing.assert_close(qcfs(pixels).flatten(), expected, rtol=1e-3, atol=0)


SMALL = {"dataset": "cifar10", "network": "qcfs_resnet20", "activation": "qcfs:4"}


def test_a_state_dict_in_all_its_wrappings(tmp_path):
    state = dict(authors.qcfs_resnet20(10))
    older = {key.replace(".act.thresh", ".relu.up").replace(".thresh", ".up"): v for key, v in state.items()}
    assert "conv1.2.up" in older and "conv2_x.0.relu.up" in older and "conv2_x.0.residual_function.2.up" in older
    several = {f"module.{key}": value for key, value in state.items()}
    bare = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    hashes, recipes = set(), set()
    wrappings = [state, several, {"epoch": 3, "model": several}, {"state_dict": state, "best_acc": 0.9}, older, bare]
    for i, held in enumerate(wrappings):
        torch.save(held, tmp_path / "file.pth", _use_new_zipfile_serialization=i != 1)
        path, info = import_state_dict("qcfs", tmp_path / "file.pth", tmp_path / "runs", **SMALL)
        hashes.add(checkpoints.load_source(path)[1]["weights_hash"])
        recipes.add(info["recipe"])
    assert len(hashes) == 1 and len(recipes) == len(wrappings)


def test_importing_from_the_command_line(ann2snn, tmp_path):
    torch.save(dict(authors.qcfs_resnet20(100)), tmp_path / "resnet20.pth")
    named = "--dataset cifar100 --network qcfs_resnet20 --activation qcfs:8"
    code, out, err = ann2snn(f"import qcfs resnet20.pth {named} --runs here")
    recipe = f"qcfs-{hashlib.sha256((tmp_path / 'resnet20.pth').read_bytes()).hexdigest()[:8]}"
    path = Path(f"here/sources/cifar100/qcfs_resnet20-qcfs-8/imported-{recipe}/weights.pt")
    assert (code, err) == (0, "")
    assert out == f"{path}\nnext: ann2snn sweep {named} --recipe {recipe} --runs here\n"
    assert path == pretrained.find("here", "cifar100", "qcfs_resnet20", "qcfs:8", recipe)


@pytest.mark.parametrize(
    "line, says",
    [
        ("qcfs f --dataset cifar10 --network qcfs_resnet20", "qcfs needs --dataset, --network and --activation"),
        (f"{PUBLIC} f --network deng_vgg16", f"{PUBLIC} is one network: leave out --dataset"),
        ("deng2021 f --dataset digits", "format deng2021 needs --dataset"),
        ("deng f --dataset digits", "No checkpoint is called 'deng'; the nearest are: deng2021"),
        (
            "deng2021 f --dataset digits --network deng_vgg16 --activation relu",
            "The dataset of deng2021 is one of cifar10, cifar100, imagenet, not 'digits'.",
        ),
        (
            "snn_calibration f --dataset cifar10 --network deng_vgg16 --activation relu",
            "The network of snn_calibration is one of cifar_vgg16, li_resnet20, not 'deng_vgg16'.",
        ),
        (
            "deng2021 f --dataset cifar10 --network deng_vgg16 --activation qcfs:4",
            "The activation of deng2021 is one of threshold_relu, relu, not 'qcfs'.",
        ),
        ("qcfs f --dataset cifar10 --network qcfs_vgg16 --activation qcfs", "No activation is called 'qcfs'"),
        (
            "qcfs absent.pth --dataset cifar10 --network qcfs_resnet20 --activation qcfs:4",
            "absent.pth cannot be read (No such file or directory).",
        ),
    ],
)
def test_wrong_requests_are_one_sentence(ann2snn, tmp_path, line, says):
    code, _, err = ann2snn(f"import {line}")
    assert code == 2 and says in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def saved(held, zipped=True):
    file = io.BytesIO()
    torch.save(held, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


IT_HAS_NOT = f"file.pth does not hold qcfs_resnet20 as {QCFS} has it: "
CODE = "file.pth holds objects of its authors' code, such as a whole network: load it with that code and save"
SHORTCUT = "conv3_x.0.shortcut.0.weight"


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda s: {k: v for k, v in s.items() if k != SHORTCUT}, IT_HAS_NOT + f"{SHORTCUT} is missing."),
        (lambda s: s | {"conv5_x.0.act.thresh": torch.ones(1)}, IT_HAS_NOT + "conv5_x.0.act.thresh is one too many."),
        (lambda s: s | {"conv1.0.bias": torch.ones(10)}, IT_HAS_NOT + "conv1.0.bias is (10,), not (16,)."),
        (lambda s: s | {"fc.weight": torch.ones(10, 128)}, IT_HAS_NOT + "fc.weight is (10, 128), not (10, 64)."),
        (lambda s: s | {SHORTCUT: s[SHORTCUT] / 0}, IT_HAS_NOT + f"{SHORTCUT} has a NaN or an infinity."),
        (
            lambda s: authors.qcfs_resnet20(100),
            "file.pth is for 100 classes, and cifar10 has 10; name its own dataset.",
        ),
        (lambda s: authors.li_resnet20(10), IT_HAS_NOT + "conv1.0.weight is missing."),
        (
            lambda s: authors.qcfs_resnet(10, (64,), (1,)),
            IT_HAS_NOT + "conv1.0.weight is (64, 3, 3, 3), not (16, 3, 3, 3)",
        ),
        (lambda s: {"model": s, "loss": nn.CrossEntropyLoss()}, CODE),
        (lambda s: nn.Linear(2, 2), CODE),
        (lambda s: saved(nn.Linear(2, 2), zipped=False), CODE),
        (lambda s: torch.ones(3), "file.pth holds no state dict: save the network's state_dict()."),
        (lambda s: {"epoch": 3, "weights": {}}, "file.pth holds no state dict"),
        (lambda s: b"epoch,accuracy", "file.pth is damaged, or was not written by torch.save."),
        (lambda s: b"", "file.pth is damaged"),
        (lambda s: saved(s)[:-300], "file.pth is damaged"),
        (lambda s: pickle.dumps([1, 2]), "file.pth is damaged"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(change, says, tmp_path):
    held, file = change(dict(authors.qcfs_resnet20(10))), tmp_path / "file.pth"
    file.write_bytes(held if isinstance(held, bytes) else saved(dict(held) if isinstance(held, dict) else held))
    with pytest.raises(UserError) as caught:
        import_state_dict("qcfs", file, tmp_path / "runs", **SMALL)
    assert says in str(caught.value) and "\n" not in str(caught.value) and not (tmp_path / "runs").exists()
