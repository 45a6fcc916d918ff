"""W&B is a view of our records: what an offline run holds is read back by W&B's own program."""

import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from wandb_logs import history, inspect, runs

from ann2snn.errors import UserError
from ann2snn.records.job import Job
from ann2snn.records.packing import pack
from ann2snn.tracking import wandb_runs, wandb_session

JOB = Job(
    dataset="digits",
    data_hash="d" * 64,
    network="tiny",
    activation="threshold_relu:1",
    recipe="digits-01234567",
    seed=1,
    method="optimal",
    method_version=1,
    options={"reset": "soft"},
    calibration=360,
)
SOURCE = {name: getattr(JOB, name) for name in ("dataset", "data_hash", "network", "activation", "recipe", "seed")}


def record(grid=(1, 2, 16)):
    """A record of 10 test images; the SNN is right on 5 of them at the first T, and on one more at each next T."""
    labels = np.arange(10)

    def split(correct):
        wrong = np.where(labels < correct, labels, (labels + 1) % 10)
        part = {"n": 10, "correct": correct, "predictions": pack(wrong)}
        return {"test": part, "validation": {"n": 8, "correct": correct - 3}}

    def at(k, T):
        result = split(5 + k)
        for part in result.values():
            part["undecided"] = 0
        counts = {"spikes": {"conv1": 30 * T, "conv2": 7 * T}, "operations": {"conv2": 270 * T, "fc": 70 * T}}
        return result | counts | {"seconds": 0.5}

    return {
        "id": JOB.id,
        "job": asdict(JOB),
        "labels": pack(labels),
        "ann": split(9),
        "T": {str(T): at(k, T) for k, T in enumerate(grid)},
        "network": {
            "parameters": 100,
            "neurons": {"conv1": 4, "conv2": 2},
            "macs": {"conv1": 36, "conv2": 18, "fc": 20},
        },
        "source": {"weights_hash": "a" * 64, "training_seconds": 12.5},
        "data": {"official": True, "n": {"train": 1077, "validation": 8, "calibration": 360, "test": 10}},
        "provenance": {
            "commit": "c" * 40,
            "dirty": False,
            "versions": {"ann2snn": "0.1.0", "torch": "2.15.0", "python": "3.11.7"},
            "device": "cpu",
            "cpu": "a processor",
            "threads": 2,
            "batch": 360,
            "calibration_hash": "b" * 64,
            "command": "ann2snn sweep",
            "date": "2026-11-24T00:00:00+00:00",
        },
    }


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch, tmp_path, wandb_anew):
    """No key and no mode of the user's; notices are new in each test."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-data"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(wandb_session, "_unreachable", False)
    wandb_session.notice.cache_clear()


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("", "offline"), ("online", "online"), ("dryrun", "offline"), ("disabled", "off"), ("nonsense", "offline")],
)
def test_default_mode(monkeypatch, variable, expected):
    monkeypatch.setenv("WANDB_MODE", variable)
    assert wandb_runs.mode() == expected
    assert wandb_runs.mode("off") == "off"


def test_a_key_makes_online_the_default(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert wandb_runs.mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_runs.mode() == "offline"


def test_a_key_in_netrc_makes_online_the_default(monkeypatch, tmp_path):
    import wandb

    host = wandb.setup().settings.base_url.partition("://")[2]
    (tmp_path / "netrc").write_text(f"machine elsewhere.example login user password {'k' * 40}\n")
    assert wandb_runs.mode() == "offline"
    (tmp_path / "netrc").write_text(f"machine {host} login user password {'k' * 40}\n")
    assert wandb_runs.mode() == "online"


def test_unknown_mode():
    with pytest.raises(UserError, match="offline, online, off, not 'on'"):
        wandb_runs.mode("on")


def test_a_run_logs_what_its_record_contains(tmp_path, capfd):
    one = record()
    wandb_runs.log_record(one, tmp_path, "offline")
    (run,) = runs(tmp_path)
    (summary,) = inspect(run, "--summary")
    rows = [row for row in history(run) if "T" in row]

    assert capfd.readouterr() == ("", "")
    assert run.name.endswith(f"-{JOB.id}")
    assert summary["tags"] == ["digits", "tiny", "optimal", "soft"]
    config = summary["config"]
    assert {key: config[key] for key in one["job"]} == one["job"]
    assert {key: config[key] for key in ("data", "source", "provenance")} == {
        key: one[key] for key in ("data", "source", "provenance")
    }
    assert config["size"] == one["network"]
    assert config["row"] == wandb_runs._row(JOB) and "optimal, digits/tiny/threshold_relu:1, " in config["row"]
    assert rows == [
        {
            "T": T,
            "snn/test": accuracy,
            "snn/validation": validation,
            "snn/loss": 90 - accuracy,
            "snn/spikes_per_image": 3.7 * T,
            "snn/operations_per_image": 34 * T,
            "snn/seconds_per_image": 0.05,
        }
        for T, accuracy, validation in [(1, 50, 25), (2, 60, 37.5), (16, 70, 50)]
    ]
    last = {name: value for name, value in summary["summary"].items() if name.startswith(("ann/", "loss/"))}
    losses = {"loss/T1": 40, "loss/T2": 30, "loss/T16": 20}
    assert last == {"ann/test": 90, "ann/validation": 75, "ann/macs_per_image": 74} | losses
    (table,) = run.glob("files/media/table/layers_*.table.json")
    table = json.loads(table.read_text())
    assert table["columns"] == ["T", "count", "layer", "per image"]
    assert [16, "operations", "fc", 112] in table["data"] and len(table["data"]) == 3 * 4


def test_T_is_the_axis_of_the_curves_and_the_group_is_the_source(tmp_path):
    wandb_runs.log_record(record(), tmp_path, "offline")
    lines = inspect(runs(tmp_path)[0])
    (run,) = (line["run"] for line in lines if line["type"] == "run")
    metrics = [line["metric"] for line in lines if line["type"] == "metric"]
    assert run["run_id"] == JOB.id
    assert run["run_group"] == "digits/tiny/threshold_relu:1"
    assert run["display_name"] == "optimal digits/tiny/threshold_relu-1/seed1"
    assert [metric["step_metric"] for metric in metrics if metric.get("glob_name") == "snn/*"] == ["T"]


def test_runs_that_differ_in_their_seeds_only_are_of_one_row():
    def row(**change):
        return wandb_runs._row(replace(JOB, **change))

    assert row() == row(seed=2) == row(calibration_seed=1)
    others = [{"calibration": 100}, {"options": {"reset": "hard"}}, {"recipe": "other-0"}, {"method_version": 2}]
    assert len({row(), *(row(**change) for change in others)}) == 5


def test_nothing_is_written_outside_the_folder(tmp_path, monkeypatch):
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name)
    wandb_runs.log_record(record(), tmp_path / "tracking", "offline")
    staged = [line["artifact"] for line in inspect(runs(tmp_path / "tracking")[0]) if line["type"] == "artifact"]
    paths = [content["local_path"] for artifact in staged for content in artifact["manifest"]["contents"]]
    assert paths and all(path.startswith(str(tmp_path / "tracking")) for path in paths)


def test_a_record_is_logged_once_and_anew_when_it_has_grown(tmp_path):
    wandb_runs.log_record(record(), tmp_path, "offline")
    before = runs(tmp_path)
    wandb_runs.log_record(record(), tmp_path, "offline")
    assert runs(tmp_path) == before
    wandb_runs.log_record(record(grid=(1, 2, 16, 32)), tmp_path, "offline")
    (run,) = runs(tmp_path)
    assert [row["T"] for row in history(run) if "T" in row] == [1, 2, 16, 32]


def test_a_run_that_failed_half_way_is_logged_again(tmp_path, capfd):
    one = record()
    counts = one["T"]["16"].pop("spikes")
    wandb_runs.log_record(one, tmp_path, "offline")
    assert f"W&B: no record {JOB.id} (KeyError: 'spikes'); the command continues" in capfd.readouterr().err
    assert not (tmp_path / "wandb" / "logged" / JOB.id).exists()
    one["T"]["16"]["spikes"] = counts
    wandb_runs.log_record(one, tmp_path, "offline")
    assert [row["T"] for row in history(runs(tmp_path)[-1]) if "T" in row] == [1, 2, 16]


def test_leaderboard(tmp_path):
    from PIL import Image

    (tmp_path / "leaderboard.csv").write_text('dataset,method,"T=8"\ndigits,optimal,"96.1, n = 3"\n')
    (tmp_path / "figures").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "figures" / "digits-tiny.png")
    for _ in range(2):
        wandb_runs.log_tables(tmp_path, tmp_path / "tracking", "offline")
    (run,) = runs(tmp_path / "tracking")
    (table,) = run.glob("files/media/table/leaderboard_*.table.json")
    table = json.loads(table.read_text())
    assert table["columns"] == ["dataset", "method", "T=8"]
    assert table["data"] == [["digits", "optimal", "96.1, n = 3"]]
    (image,) = run.glob("files/media/images/figures/*.png")
    assert image.read_bytes() == (tmp_path / "figures" / "digits-tiny.png").read_bytes()


def test_training_curves(tmp_path):
    import pytorch_lightning as lightning
    import torch

    class Descent(lightning.LightningModule):
        """Its loss is 1, 0.75, 0.5 in the three steps."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(1.0))

        def training_step(self, batch, index):
            self.log("train/loss", self.weight)
            return self.weight * 1

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.25)

    logger = wandb_runs.training_logger(SOURCE | {"epochs": 1}, tmp_path, "offline")
    logger.log_hyperparams({"lr": 0.25})
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Descent(), [0, 1, 2])
    (run,) = runs(tmp_path)
    assert run.name.endswith(f"-{JOB.source_id}")
    (summary,) = inspect(run, "--summary")
    assert summary["config"] == SOURCE | {"epochs": 1, "lr": 0.25}
    assert summary["state"] == "finished" and summary["exit_code"] == 0
    assert [row["train/loss"] for row in history(run)] == [1, 0.75, 0.5]


def test_trouble_with_the_logger_is_no_trouble_of_the_training(tmp_path, capfd):
    logger = wandb_runs.training_logger(SOURCE, tmp_path, "offline")
    logger.finalize("failed")
    logger.log_metrics({"train/loss": 1.5}, step=10)
    logger.log_metrics({"train/loss": 0.5}, step=20)
    assert capfd.readouterr().err.count("W&B: no training curves") == 1


def everything(directory, mode):
    (directory / "leaderboard.csv").write_text("dataset\ndigits\n")
    wandb_runs.log_record(record(), directory / "tracking", mode)
    wandb_runs.log_tables(directory, directory / "tracking", mode)
    return wandb_runs.training_logger(SOURCE, directory / "tracking", mode)


def test_off_writes_nothing(tmp_path, capfd):
    assert everything(tmp_path, "off") is None
    assert not (tmp_path / "tracking").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_without_wandb(tmp_path, capfd, monkeypatch, mode):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert wandb_runs.mode() == "offline"
    assert everything(tmp_path, mode) is None
    assert not (tmp_path / "tracking").exists()
    assert capfd.readouterr().err == "W&B: wandb is not installed; nothing is logged there\n"


@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize("error", ["RuntimeError('two versions of protobuf')", "ImportError('no protobuf')"])
def test_a_wandb_that_cannot_be_imported(tmp_path, capfd, monkeypatch, mode, error):
    (tmp_path / "wandb.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    assert wandb_runs.mode() == "offline"
    assert everything(tmp_path, mode) is None and not (tmp_path / "tracking").exists()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "cannot be imported" in lines[0] and "protobuf" in lines[0]


def test_a_key_but_no_network(tmp_path, capfd, monkeypatch):
    """Only the first run tries to start online."""
    import wandb

    modes, init = [], wandb.init
    monkeypatch.setattr(wandb, "init", lambda *a, **k: modes.append(k["mode"]) or init(*a, **k))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setitem(wandb_session.SETTINGS, "init_timeout", 1)
    monkeypatch.setitem(wandb_session.SETTINGS, "base_url", "http://127.0.0.1:9")
    assert everything(tmp_path, wandb_runs.mode()) is not None
    assert modes == ["online", "offline", "offline", "offline"]
    assert [run.name.split("-")[0] for run in runs(tmp_path / "tracking")].count("offline") == 3
    error = capfd.readouterr().err
    assert error.startswith("W&B: the server cannot be used (") and error.count("\n") == 1
