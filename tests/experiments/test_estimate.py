"""What `--dry-run` says, with records and data that are there, or not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ann2snn.cli import reproduce
from ann2snn.data.archives import LAYOUTS
from ann2snn.data.catalog import DATASETS
from ann2snn.data.registry import load, names
from ann2snn.experiments import profiles
from ann2snn.experiments.estimate import (
    EXTRAPOLATED,
    MEASURED,
    UNKNOWN,
    Estimator,
    format_bytes,
    format_duration,
    network_size,
)
from ann2snn.experiments.sweep import Settings, Sweep
from ann2snn.graph.prepare import prepare
from ann2snn.metrics.operations import costs
from ann2snn.networks.registry import create
from ann2snn.records import provenance, store
from ann2snn.training import checkpoints, recipes
from ann2snn.training.source_info import source_info

pytestmark = pytest.mark.usefixtures("undrawn")
RESULTS = Path(__file__).parents[2] / "results"
OPI = Sweep("t", "digits", ("digits_plain",), ("relu",), (0,), (("opi", {"reset": "soft"}),), (2, 8))


def test_datasets_are_as_they_are_read():
    digits = load("digits")
    sizes = tuple(len(getattr(digits, split)) for split in ("train", "validation", "test"))
    assert DATASETS["digits"][:3] == (digits.classes, tuple(digits.shape), sizes)
    for name, layouts in LAYOUTS.items():
        assert sum(DATASETS[name][2]) == sum(n for _, n in layouts[0].files.values()) // (1 + (name == "fashion_mnist"))
    assert set(DATASETS) == set(names())


@pytest.mark.parametrize("network", ["digits_plain", "digits_residual", "test_resnet"])
def test_multiply_accumulates_without_weights_are_those_of_the_converted_network(network):
    net = create(network, num_classes=10, in_chans=1).eval()
    macs = costs(prepare(net, torch.zeros(1, 1, 8, 8)), (1, 8, 8)).macs
    assert network_size("digits", network) == (sum(macs.values()), sum(p.numel() for p in net.parameters()))


def test_large_networks_are_counted_without_allocating_them():
    assert network_size("cifar10", "deng_vgg16") == (262_905_856, 35_211_082)
    assert network_size("imagenet", "deng_vgg16_imagenet") == (15_470_264_320, 138_357_544)
    assert network_size("cifar10", "no_such_network") is None and network_size("no_data", "digits_plain") is None


@pytest.fixture
def known(make_record):
    """One record of `network`: a training of 100 s, 720 image-steps at T = 8 in 0.5 s."""

    def make(network, macs, device="cpu"):
        recipe = recipes.recipe_of("digits", network).key
        record = make_record(network=network, recipe=recipe, T={2: 9, 8: 9}, n=90)
        record["source"]["training_seconds"] = 100
        record["network"]["macs"] = {"conv": macs}
        record["provenance"]["device"] = device
        record["data"]["n"]["train"] = 1077
        return record

    return make


def test_a_known_network_takes_what_its_records_took(known, tmp_path):
    macs, parameters = network_size("digits", "digits_plain")
    need = Estimator([known("digits_plain", macs)], Settings(tmp_path, device="cpu")).estimate(OPI.parts())
    assert need.seconds == pytest.approx(100 + 0.5 / 720 * 720 * 8) and need.certainty == MEASURED
    assert (need.jobs, need.done) == (1, 0) and need.bytes > 4 * parameters
    assert need.time == "2 min"


def test_a_known_method_takes_what_it_took_and_its_conversions(known, tmp_path):
    macs, _ = network_size("digits", "digits_plain")
    slow = known("digits_plain", macs)
    slow["job"]["method"] = "ftbc"
    slow["T"]["8"]["seconds"] = 5.0
    for T, seconds in (("2", 10.0), ("8", 30.0)):
        slow["T"][T]["conversion_seconds"] = seconds
    (part,) = replace(OPI, methods=(("ftbc", {}),), T=(1, 3)).parts()
    estimates = Estimator([known("digits_plain", macs), slow], Settings(tmp_path, device="cpu"))
    assert estimates.estimate([part]).seconds == pytest.approx(100 + 5.0 / 720 * 720 * (1 + 3) + 2 * 20)


def test_another_network_is_extrapolated_from_the_nearest_by_its_multiply_accumulates(known, tmp_path):
    macs, _ = network_size("digits", "digits_plain")
    far = known("digits_residual", 1)
    near = known("test_resnet", macs // 2)
    need = Estimator([far, near], Settings(tmp_path, device="cpu")).estimate(OPI.parts())
    assert need.seconds == pytest.approx(2 * 104) and need.certainty == EXTRAPOLATED
    assert need.time == "~3 min" and need.disk.startswith("~")
    assert Estimator([], Settings(tmp_path)).estimate(OPI.parts()).certainty == UNKNOWN
    fast = known("test_resnet", macs, "cuda: a card") | {"id": "gpu"}
    assert len(Estimator([near, fast], Settings(tmp_path, device="cpu")).records) == 1
    assert Estimator([near, fast], Settings(tmp_path, device="cuda:0,cuda:1")).machines == ["cuda: a card"]


def test_what_tables_share_is_trained_once_and_what_is_there_is_done(known, tmp_path, ann2snn):
    from sources import put

    macs, _ = network_size("digits", "digits_plain")
    settings, source = Settings(tmp_path / "runs", device="cpu"), known("digits_plain", macs)
    both = [*OPI.parts(), *OPI.parts()]
    assert Estimator([source], settings).estimate(both).seconds == pytest.approx(100 + 2 * 4)
    put(tmp_path / "runs", activation="relu")
    assert Estimator([source], settings).estimate(both).seconds == pytest.approx(2 * 4)
    line = "sweep --dataset digits --network digits_plain --activation relu --method opi --device cpu --wandb off --T"
    assert ann2snn(f"{line} 2")[0] == 0
    assert Estimator([source], settings).estimate(OPI.parts()).done == 0
    assert ann2snn(f"{line} 8")[0] == 0
    need = Estimator([source], settings).estimate(OPI.parts())
    assert (need.done, need.seconds, need.bytes) == (1, 0, 0)
    with pytest.MonkeyPatch.context() as patch:  # a run on this processor would begin anew
        patch.setattr(provenance, "cpu_model", lambda: "another processor")
        assert Estimator([source], settings).estimate(OPI.parts()).done == 0
    assert ann2snn(f"{line} 2 8".replace("opi", "srp"))[0] == 0  # nothing is read at T = 2, within its warm-up
    assert Estimator([source], settings).estimate(replace(OPI, methods=(("srp", {}),)).parts()).done == 1


def test_a_source_that_starts_from_another_needs_both(known, tmp_path):
    tables = {table.id: table.parts()[:1] for table in profiles.find("paper")}
    estimates = Estimator([known("digits_plain", 1000)], Settings(tmp_path, tmp_path, device="cpu"))
    removed, contrast = tables["cifar10-deng_vgg16-bn_removed"], tables["cifar10-deng_vgg16_bn"]
    apart = estimates.estimate(removed).seconds + estimates.estimate(contrast).seconds
    work = 8 * 45_000 * network_size("cifar10", "deng_vgg16_bn")[0]  # cifar_short: 8 epochs
    shared = 100 / (40 * 1077 * 1000) * work
    assert apart - estimates.estimate([*removed, *contrast]).seconds == pytest.approx(shared)


@pytest.mark.parametrize(
    "value, text",
    [(99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h"), (36_000, "10 h"), (3.6e6, "42 d")],
)
def test_clock(value, text):
    assert format_duration(value) == text


def test_sizes():
    assert [format_bytes(n) for n in (1e5, 9.94e6, 1.1e7, 2.5e10)] == ["0.1 MB", "9.9 MB", "11 MB", "25 GB"]


@pytest.fixture(scope="module")
def committed():
    """The committed records, read a single time."""
    return store.load_all(RESULTS)


@pytest.mark.parametrize("profile", profiles.names())
def test_every_profile_can_be_read_in_80_columns_without_its_data(ann2snn, monkeypatch, tmp_path, committed, profile):
    monkeypatch.setattr(reproduce, "RESULTS", RESULTS)
    load_all = store.load_all
    monkeypatch.setattr(store, "load_all", lambda root: committed if root == RESULTS else load_all(root))
    code, out, err = ann2snn(f"reproduce --dry-run --profile {profile} --data-root nowhere --device cpu")
    assert (code, err) == (0, "") and "not measured" not in out
    assert max(len(line) for line in out.splitlines() if not line.startswith("missing: ")) <= 80
    datasets = {table.dataset for table in profiles.find(profile)} - {"digits"}
    assert out.count(" is not in nowhere, which does not exist: put ") == len(datasets)
    assert list(tmp_path.iterdir()) == []


def test_missing_public_weights_are_named_with_the_command_that_brings_them(ann2snn):
    code, out, _ = ann2snn("reproduce --dry-run --profile cifar --only cifar10-public/relu/opi-soft")
    assert code == 0 and out.count("`ann2snn import resnet20-akamaster FILE`") == 1


@pytest.mark.parametrize(
    "profile, id, tables",
    [
        ("cifar", "thresholds", {"cifar10-resnet20", "cifar10-thresholds"}),
        ("paper", "ann", {table.id for table in profiles.find("paper")}),
    ],
)
def test_a_table_of_the_paper_is_an_id_too(profile, id, tables):
    assert {table.id for table in reproduce.select(profiles.find(profile), [id])} == tables


def test_several_tables_and_rows_run_each_once():
    def ids(*only):
        found = reproduce.select(profiles.find("quick"), list(only))
        return [(table.id, len(table.activations), len(table.methods)) for table in found]

    opi, optimal = ids("digits-plain/relu/opi-soft"), ids("digits-residual/relu/optimal-hard")
    assert opi == [("digits-plain", 1, 1)]
    assert ids("digits-plain/relu/opi-soft", "digits-residual/relu/optimal-hard") == opi + optimal
    assert ids("digits-plain/relu/opi-soft", "digits-plain/relu/opi-soft") == opi
    assert ids("digits-plain/relu/opi-soft", "digits-plain") == ids("digits-plain") == [("digits-plain", 2, 8)]


def test_a_table_of_the_paper_is_asked_for_alone(ann2snn):
    code, out, err = ann2snn("reproduce --dry-run --profile cifar --only thresholds cifar10-thresholds")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "thresholds is a table of the paper" in err


def cifar10(root, train=1200, test=20):
    """Files in the official binary version, with random pixels."""
    draw, folder = np.random.default_rng(0), root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, n in [*((f"data_batch_{i}", train // 5) for i in range(1, 6)), ("test_batch", test)]:
        rows = np.column_stack([np.arange(n) % 10, draw.integers(0, 256, (n, 3072))]).astype(np.uint8)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


ROW = "reproduce --profile cifar --only cifar10-augmented/threshold_relu-1/optimal-soft --device cpu --wandb off"


def test_a_row_of_cifar_from_the_dry_run_to_the_record(ann2snn, tmp_path, monkeypatch):
    """With weights that no one trained, and at small T's."""
    short = tuple(replace(table, T=(1, 2)) for table in profiles.find("cifar"))
    monkeypatch.setitem(profiles.PROFILES, "cifar", short)
    cifar10(tmp_path / "pictures")
    line = f"{ROW} --data-root pictures --accept-unofficial-data"
    code, out, _ = ann2snn(f"{line} --dry-run")
    assert code == 0 and "cifar10-augmented  1 " in out and "missing" not in out
    small = load("cifar10", tmp_path / "pictures", accept_unofficial=True)
    info = source_info(small, "cifar_resnet20", "threshold_relu:1", 0)
    path = checkpoints.weights_file(small, "cifar_resnet20", "threshold_relu:1", 0, tmp_path / "runs")
    checkpoints.save_source(checkpoints.untrained_network(info, 0), info, path)
    code, out, err = ann2snn(line)
    assert code == 0 and (tmp_path / "runs/PAPER.md").exists(), err
    (record,) = store.load_all(tmp_path / "runs")
    assert list(record["T"]) == ["1", "2"] and record["job"]["calibration_transform"] == "crop_flip"
    code, out, _ = ann2snn(f"{line} --dry-run")
    assert code == 0 and "1 (1 done)" in out and "0 s and 0.0 MB" in " ".join(out.split())


def test_too_small_or_absent_data_are_one_sentence_in_the_dry_run_and_in_the_run(ann2snn, tmp_path):
    cifar10(tmp_path / "pictures", train=100)
    for options, says in (
        ("--data-root pictures --accept-unofficial-data", "cannot give 1024"),
        ("", "CIFAR10 is not"),
    ):
        code, out, _ = ann2snn(f"{ROW} {options} --dry-run")
        assert code == 0 and out.count(says) == 1
        code, _, err = ann2snn(f"{ROW} {options}")
        left_out = [line for line in err.splitlines() if line.startswith(("skipped ", "failed "))]
        assert code == 2 and len(left_out) == 1 and says in left_out[0]
    whole = ROW.replace("--only cifar10-augmented/threshold_relu-1/optimal-soft", "")
    code, _, err = ann2snn(whole)
    assert code == 2 and err.count("\n") == 2  # CIFAR-10 and CIFAR-100, not every table
    assert err.startswith("skipped cifar10-public, cifar10-resnet20, ")
