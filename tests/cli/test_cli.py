"""The command line: what a user reads, and exit codes."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sources import put

import ann2snn as ann2snn_package
from ann2snn.cli import parser
from ann2snn.data import registry as data_registry
from ann2snn.graph import not_convertible
from ann2snn.methods import registry as methods_registry
from ann2snn.methods.registry import METHODS, discover
from ann2snn.networks import registry as networks_registry
from ann2snn.records import job, packing, store
from ann2snn.simulation import c_library
from ann2snn.training.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("undrawn")
SWEEP = "sweep --dataset digits --network digits_plain --T 1 4 --device cpu --wandb off"


def one_sentence(err):
    return len(err.strip().splitlines()) == 1 and err.startswith("ann2snn: ") and len(err) < 400


@pytest.mark.parametrize(
    "line, says",
    [
        ("swep", "sweep"),
        ("", "COMMAND"),
        ("reproduce --profile digit", "digits"),
        ("reproduce --only digits-plain/threshold_relu-1/optimal-sof", "optimal-soft"),
        ("reproduce --device tpu", "cpu"),
        (f"{SWEEP} --T 0", "1 or more"),
        (f"{SWEEP} --T -4", "1 or more"),
        (f"{SWEEP} --T 2.5", "1 or more"),
        (f"{SWEEP} --method optimum", "optimal"),
        (f"{SWEEP} --reset sofr", "soft"),
        (f"{SWEEP} --method cos --reset hrad", "hard"),
        (f"{SWEEP} --method mmse --option error=roumd", "error of mmse is 'round' or 'floor', not 'roumd'"),
        (f"{SWEEP} --method mmse --option error=roumd --dry-run", "'round' or 'floor'"),
        (f"{SWEEP} --method ftbc --option updates=abc", "updates of ftbc is a whole number of 0 or more"),
        (f"{SWEEP} --method robust_norm --option quantile=99.9", "quantile of robust_norm is a number in (0, 1]"),
        (f"{SWEEP} --recipe digts --dry-run", "No recipe is called 'digts'; the nearest are: digits"),
        (f"{SWEEP} --option colour=red", "no option 'colour'"),
        (f"{SWEEP} --option colour", "NAME=VALUE"),
        (f"{SWEEP} --activation gelu", "threshold_relu"),
        (f"{SWEEP} --calibration 5000", "1077"),
        (f"{SWEEP} --plugin nowhere.py", "nowhere.py"),
        (f"{SWEEP} --wandb maybe", "offline"),
        (f"{SWEEP} --sed 1", "`ann2snn sweep` has no option --sed; the nearest are: --seed"),
        (f"{SWEEP} more", "`ann2snn sweep --help`"),
        ("compare a.json b.json c.json", "`ann2snn compare` has no argument c.json"),
        (f"{SWEEP} --method optimal optimum", "optimal"),
        (f"{SWEEP} --network digits_plain digits_plane", "digits_plain"),
        (f"{SWEEP} --activation relu threshold_relo:1", "threshold_relu"),
        (f"{SWEEP} --network digits_plain efficientnet_b0 --activation relu", "sigmoid cannot be converted"),
        (f"{SWEEP} --recipe digts", "digits"),
        (f"{SWEEP} --calibration-transform crop_flop", "crop_flip"),
        (f"{SWEEP} --method qcfs --activation relu", "none of these converts"),
        (f"{SWEEP} --method optimum --dry-run", "optimal"),
        (f"{SWEEP} --threads 0", "1 or more"),
        ("recheck .", "no record below"),
        ("list method", "methods"),
        ("completion fish", "bash"),
        ("sweep --dataset digit --network digits_plain", "digits"),
        ("sweep --dataset digit --network digits_plain --dry-run", "No dataset is called 'digit'"),
        ("diagnose --dataset digit --network digits_plain", "digits"),
        ("diagnose --dataset digits --network digits_plane", "digits_plain"),
        ("diagnose --dataset digits --network digits_plain --recipe digts", "digits"),
        ("train --dataset digits --network digits_plain --recipe digts", "digits"),
        ("inspect digits_plain --method optimum", "optimal"),
        ("inspect nowhere.pt --dataset digit", "digits"),
        ("inspect digits_plane", "digits_plain"),
        ("import resnet20-akamastr x.th", "resnet20-akamaster"),
        ("import qcfs x.th --dataset digit --network deng_vgg16 --activation qcfs:4", "cifar10"),
        ("dashboard --dry-run --dataset digit", "No dataset is called 'digit'; the nearest are: digits"),
        ("dashboard --dry-run --network digits_plain digits_plane", "digits_plain"),
        ("dashboard --dry-run --method optimum", "No method is called 'optimum'; the nearest are: optimal"),
        ("sweep --dataset digits --network digits_plane", "digits_plain"),
        ("train --dataset cifar10 --network digits_plain", "cifar"),
        ("train --dataset digits --network digits_plain --seed -1", "from 0 to"),
        (f"{SWEEP} --calibration-seed 4294967296", "from 0 to 2^32 - 1"),
        (f"{SWEEP} --option reset=hard", "--reset"),
        ("inspect nowhere.pt", "nowhere.pt"),
        ("inspect no.such.module:net", "no.such.module"),
        ("inspect json:loads", "json:loads"),
        ("inspect digits_plain --shape 1 4 4", "name the shape of one input with --shape C H W"),
        ("inspect digits_plain --shape 1 -1 8", "1 or more"),
        ("inspect digits_plain --classes 0", "1 or more"),
        ("inspect torchvision.models:resnet18 --activation threshold_relu:1", "made by name"),
        ("leaderboard", "no finished record"),
        ("recheck nothing.json", "nothing.json"),
        ("publish", "no finished record"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(ann2snn, tmp_path, line, says):
    code, out, err = ann2snn(line)
    assert code == 2 and says in err, err
    assert one_sentence(err)
    assert not list(tmp_path.rglob("*.json"))


def test_cuda_where_there_is_none(ann2snn, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = ann2snn("reproduce --device cuda")
    assert code == 2 and "CUDA" in err and one_sentence(err)


HELP = """
import atexit, sys
from ann2snn.cli import main
slow = ("torch", "numpy", "timm", "matplotlib", "sklearn", "wandb", "pytorch_lightning")
atexit.register(lambda: print([name for name in slow if name in sys.modules]))
main.main(["--help"])
"""


def test_help_is_there_at_once():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0 and all(c in done.stdout for c in ("train", "sweep", "inspect", "recheck", "publish"))
    assert done.stdout.splitlines()[-1] == "[]"  # no library that takes long to import


COMMANDS = [command for action in parser.parser()._actions for command in (action.choices or {}).values()]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.prog.split()[1])
def test_every_help_has_defaults_and_an_example_that_parses(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = command.format_help()
    assert max(map(len, text.splitlines())) <= 80
    _, example = text.split("example:\n  ann2snn ")
    parser.parser().parse_args(shlex.split(example.partition(">")[0]))
    flat = " ".join(text.split())
    for action in command._actions:
        assert action.help, action.dest
        if action.option_strings and action.default not in (None, False, [], argparse.SUPPRESS):
            values = action.default if isinstance(action.default, list) else [action.default]
            assert f"(default: {' '.join(map(str, values))})" in flat or f"{values[0]} (default)" in flat, action.dest


@pytest.mark.parametrize("line", [["-m", "ann2snn"]])
def test_the_version(line):
    done = subprocess.run([sys.executable, *line, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ann2snn {ann2snn_package.__version__}\n")


def test_the_api_is_listed_and_nothing_is_loaded_by_it():
    code = "import sys, ann2snn; print(*dir(ann2snn)); print('torch' in sys.modules)"
    names, loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()
    assert names.split() == sorted([*ann2snn_package.__all__, "__version__"]) and loaded == "False"


@pytest.mark.parametrize("what, names", [
    ("methods", sorted(name for name, method in discover().items() if not method.is_plugin)),
    ("datasets", data_registry.names()),
    ("networks", networks_registry.names()),
    ("recipes", list(RECIPES)),
])  # fmt: skip
def test_lists_have_a_line_for_every_name(ann2snn, what, names):
    code, out, _ = ann2snn(f"list {what}")
    first = [line.split()[0] for line in out.splitlines() if line]
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert [name for name in first if name in names] == names


def complete(script, *words):
    """What bash offers for the last of these words."""
    text = f'source ./{script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ann2snn; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", text, "bash", *words], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_completion(ann2snn, tmp_path):
    code, out, _ = ann2snn("completion bash")
    Path("script").write_text(out)
    assert code == 0 and complete("script", "ann2snn", "re") == ["reproduce", "recheck"]
    assert complete("script", "ann2snn", "sweep", "--me") == ["--method"]
    assert complete("script", "ann2snn", "sweep", "--method", "opi", "max") == ["max_norm"]
    assert complete("script", "ann2snn", "sweep", "--device", "") == ["auto", "cpu", "cuda"]
    assert complete("script", "ann2snn", "train", "--network", "digits_r") == ["digits_residual"]
    assert complete("script", "ann2snn", "list", "m") == ["methods"]
    assert complete("script", "ann2snn", "recheck", "file") == []  # bash offers files then
    code, out, _ = ann2snn("completion zsh")
    assert code == 0 and "bashcompinit" in out


def test_a_quick_look_leaves_no_record(ann2snn, tmp_path):
    put(tmp_path / "runs")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = ann2snn(f"{SWEEP} --limit 7")
    assert code == 0 and "Only the first 7 test images" in out and "no record is saved" in out, err
    whole = ann2snn(SWEEP)[1].splitlines()[2].split()
    few = out.splitlines()[2].split()
    assert few[:4] == whole[:4] and float(few[-1]) in [round(100 * n / 7, 1) for n in range(8)]
    shutil.rmtree("runs")
    put(tmp_path / "runs")
    code, out, _ = ann2snn("diagnose --dataset digits --network digits_plain --T 4 --limit 7 --wandb off")
    assert code == 0 and "on 7 test images" in out and "nothing is saved" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sweep_is_listed_before_it_is_run(ann2snn, tmp_path):
    put(tmp_path / "runs")
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = ann2snn(f"{SWEEP} --method optimal opi --dry-run")
    assert code == 0 and "sweep/threshold_relu-1/opi-soft" in out and "2 jobs" in out
    assert max(map(len, out.splitlines())) <= 80 and sorted(tmp_path.rglob("*")) == before


def test_a_method_for_other_sources_is_skipped_and_a_wrong_option_is_an_error(ann2snn, tmp_path):
    put(tmp_path / "runs")
    code, out, err = ann2snn(f"{SWEEP} --method optimal qcfs")
    assert code == 0 and err == "skipped qcfs on threshold_relu:1: it is for qcfs sources.\n"
    code, out, err = ann2snn(f"{SWEEP} --method mmse optimal --option error=round --T 4")
    assert code == 2 and "optimal has no option" in err
    code, out, err = ann2snn(f"{SWEEP} --method mmse --option error=roumd --T 4")
    assert code == 2 and one_sentence(err) and "not 'roumd'" in err


def test_json(ann2snn, tmp_path):
    put(tmp_path / "runs")
    assert ann2snn(f"{SWEEP} --method optimal opi")[0] == 0
    first, second = sorted(Path("runs/records").rglob("*.json"))
    code, out, err = ann2snn(f"compare {first} {second} --json")
    found = json.loads(out)
    assert code == 0 and [x["T"] for x in found["T"]] == [1, 4] and "opi" in found["first"]
    assert found["T"][1]["difference"] == pytest.approx(found["T"][1]["second"] - found["T"][1]["first"])
    code, out, err = ann2snn(f"recheck {first} --json")
    found = json.loads(out)
    assert (
        code == 0
        and found["agrees"]
        and [(x["differ"], x["allowed"]) for x in found["records"][0]["T"]] == [(0, 0)] * 2
    )
    code, out, err = ann2snn("inspect digits_plain --dataset digits --T 8 --json")
    found = json.loads(out)
    assert code == 0 and found["converts"] and len(found["layers"]) == 4 and len(found["nodes"]) > 4
    low, high = found["layers"][0]["v_th"]
    assert 0 < low <= high and found["layers"][0]["shift"] == pytest.approx([low / 16, high / 16])
    code, out, err = ann2snn("inspect convnext_atto --json")
    found = json.loads(out)
    assert code == 1 and not found["converts"] and any(x["role"] == "not convertible" for x in found["nodes"])


def test_recheck_of_a_folder_has_a_verdict_over_all(ann2snn, tmp_path):
    put(tmp_path / "runs")
    assert ann2snn(f"{SWEEP} --method optimal opi")[0] == 0
    code, out, err = ann2snn("recheck runs")
    assert code == 0 and out.endswith("\n2 of 2 records agree.\n") and out.count("agrees (the same") == 2
    path = min(Path("runs/records").rglob("*.json"))
    record = json.loads(path.read_text())
    record["T"]["4"]["spikes"]["1"] += 1
    path.write_text(json.dumps(record))
    code, out, err = ann2snn("recheck runs")
    assert code == 1 and out.endswith("\n1 of 2 records agree, 1 differ.\n")
    path.write_text("{")
    code, out, err = ann2snn("recheck runs")
    assert code == 2 and out.endswith("\n1 of 2 records agree, 1 could not be rechecked.\n")
    assert err.startswith(f"{path}: not rechecked. ")


def test_an_ascii_terminal():
    code = "from ann2snn.cli import process; process.replace_unencodable(); print('97.3 ± 0.2 †, 1 → 2: −3, ♥')"
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env)
    assert (done.returncode, done.stdout) == (0, b"97.3 +/- 0.2 *, 1 -> 2: -3, ?\n")
    line = [sys.executable, "-m", "ann2snn", "sweep", "--dataset", "dïgits", "--network", "a"]
    done = subprocess.run(line, capture_output=True, env=env)
    assert done.returncode == 2 and b"ann2snn: No dataset is called 'd?gits'" in done.stderr


def test_dry_run_lists_jobs_and_runs_nothing(ann2snn, tmp_path):
    code, out, err = ann2snn("reproduce --dry-run")
    assert code == 0 and "96 jobs" in out and "digits-plain/threshold_relu-1/optimal-soft" in out
    code, out, _ = ann2snn("reproduce --dry-run --only digits-plain/relu/opi-hard")
    assert code == 0 and "3 jobs" in out
    assert max(map(len, out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_from_the_command_line_to_the_leaderboard(ann2snn, tmp_path, monkeypatch):
    monkeypatch.setattr(methods_registry, "METHODS", dict(METHODS))
    put(tmp_path / "runs")
    (tmp_path / "mine.py").write_text(
        "from ann2snn import IF, method, replace_activations, soft, threshold\n\n\n"
        '@method(paper="me2026")\n'
        "def mine_only(ann, stats, *, reset=soft, factor=0.5):\n"
        '    """Half the largest activation."""\n'
        "    return replace_activations(ann, lambda a: IF(factor * threshold(stats[a.name].max, a.name), reset))\n"
    )
    line = f"{SWEEP} --method optimal mine_only --reset soft hard --plugin mine.py"
    code, out, err = ann2snn(line)
    assert code == 0, err
    assert "mine_only reset=hard" in out and (tmp_path / "runs/LEADERBOARD.md").exists()
    made = store.load_all(tmp_path / "runs")
    assert [r["job"]["options"] for r in made if r["job"]["method"] == "mine_only"] == [
        {"reset": "hard", "factor": 0.5},
        {"reset": "soft", "factor": 0.5},
    ]
    assert ann2snn("leaderboard --root runs --check")[0] == 0
    (tmp_path / "runs/LEADERBOARD.md").write_text("edited")
    code, _, err = ann2snn("leaderboard --root runs --check")
    assert code == 2 and "LEADERBOARD.md" in err and one_sentence(err)
    assert ann2snn("leaderboard --root runs")[0] == 0 and ann2snn("leaderboard --root runs --check")[0] == 0
    code, out, _ = ann2snn("publish --uncommitted")
    assert code == 0 and len(store.load_all(tmp_path / "results")) == 4
    assert len(list((tmp_path / "results/weights").rglob("*.pt"))) == 1


EDITED = """\
from ann2snn import IF, method, replace_activations, soft, threshold


@method(paper="me2026")
def edited(ann, stats, *, reset=soft):
    return replace_activations(ann, lambda a: IF({} * threshold(stats[a.name].max, a.name), reset))
"""


def test_a_job_that_fails_is_an_error_and_the_others_are_run(ann2snn, tmp_path, monkeypatch):
    monkeypatch.setattr(methods_registry, "METHODS", dict(METHODS))
    put(tmp_path / "runs")
    Path("mine.py").write_text(EDITED.format("{}['nothing']"))
    code, out, err = ann2snn(f"{SWEEP} --method edited optimal --plugin mine.py")
    assert code == 2 and err.startswith("failed ") and "KeyError: 'nothing'" in err
    assert [record["job"]["method"] for record in store.load_all("runs")] == ["optimal"]


def test_numbers_of_an_edited_method_are_not_mixed_with_the_old_ones(ann2snn, tmp_path, monkeypatch):
    monkeypatch.setattr(methods_registry, "METHODS", dict(METHODS))
    put(tmp_path / "runs")
    line = f"{SWEEP} --method edited --plugin mine.py"
    Path("mine.py").write_text(EDITED.format(0.75))
    assert ann2snn(line)[0] == 0
    (before,) = store.load_all("runs")
    assert before["provenance"]["dirty"] is True  # no commit holds it
    Path("mine.py").write_text(EDITED.format(0.05))
    code, _, err = ann2snn(line.replace("--T 1 4", "--T 1 4 8"))
    (after,) = store.load_all("runs")
    assert code == 0 and list(after["T"]) == ["1", "4", "8"], err
    assert all(after["T"][t]["spikes"] != before["T"][t]["spikes"] for t in ("1", "4"))


def test_what_a_sweep_cannot_do_is_reported_before_anything_is_trained(ann2snn, tmp_path):
    for line, says in (
        (SWEEP.replace("--T 1 4", f"--T {10**20}"), "too long"),
        (SWEEP.replace("--T 1 4", "--T 40000"), "too long"),
        (f"{SWEEP} --recipe digts", "No recipe is called 'digts'; the nearest are: digits"),
    ):
        code, _, err = ann2snn(f"{line} --method optimal")
        assert code == 2 and says in err and len(err.splitlines()) == 1, err
    assert not list(tmp_path.rglob("*.pt"))


def test_records_of_code_that_is_not_committed_are_not_published(ann2snn, make_record):
    clean, dirty = make_record(official=False), make_record(official=False, seed=1)
    clean["provenance"]["dirty"], dirty["provenance"]["dirty"] = False, True
    store.save(dirty, "runs")
    code, _, err = ann2snn("publish")
    assert code == 2 and "not committed" in err and one_sentence(err) and not Path("results").exists()
    store.save(clean, "runs")
    code, _, err = ann2snn("publish")
    assert code == 0 and "1 records from code that is not committed are left out" in err
    assert [record["job"]["seed"] for record in store.load_all("results")] == [0]
    assert ann2snn("publish --uncommitted")[0] == 0 and len(store.load_all("results")) == 2


def test_recheck(ann2snn, tmp_path, monkeypatch):
    put(tmp_path / "runs")
    assert ann2snn(SWEEP)[0] == 0 and ann2snn("publish --uncommitted")[0] == 0
    path = next((tmp_path / "results/records").rglob("*.json")).relative_to(tmp_path)
    code, out, _ = ann2snn(f"recheck {path}")
    assert code == 0 and "agrees (the same environment" in out
    engine = json.loads(path.read_text())["provenance"]["engine"]
    assert engine == ("C" if c_library.library() else "PyTorch")
    with monkeypatch.context() as patch:
        patch.setattr(c_library, "library", lambda: None)  # as without a C compiler
        code, out, _ = ann2snn(f"recheck {path}")
        assert code == 0 and ("agrees (another environment" in out) == (engine == "C")

    record = json.loads(path.read_text())
    found = packing.unpack(record["T"]["4"]["test"]["predictions"])
    found[:5] = (found[:5] + 1) % 10
    tampered = json.loads(path.read_text())
    tampered["T"]["4"]["test"]["predictions"] = packing.pack(found)
    tampered["T"]["4"]["test"]["correct"] = int((found == packing.unpack(record["labels"])).sum())
    path.write_text(json.dumps(tampered))
    code, out, _ = ann2snn(f"recheck {path}")
    assert code == 1 and "DIFFERS" in out and " 5 " in out

    for change in ("spikes", "validation", "ANN"):
        tampered = json.loads(json.dumps(record))
        if change == "spikes":
            tampered["T"]["4"]["spikes"]["1"] += 1
        else:
            (tampered["ann"] if change == "ANN" else tampered["T"]["4"])["validation"]["correct"] -= 1
        path.write_text(json.dumps(tampered))
        code, out, _ = ann2snn(f"recheck {path}")
        assert code == 1 and change in out, change

    record["provenance"]["cpu"] = "another"
    path.write_text(json.dumps(record))
    code, out, _ = ann2snn(f"recheck {path}")
    assert code == 0 and "another environment" in out

    for key, value, why in (("activation", "relu", "--weights"), ("method_version", 2, "of version 2 of")):
        changed = record["job"] | {key: value}
        moved = store.save(record | {"id": job.Job(**changed).id, "job": changed}, "results")
        code, _, err = ann2snn(f"recheck {moved}")
        assert code == 2 and why in err and one_sentence(err)

    shutil.rmtree("results/weights")
    shutil.rmtree("runs")
    code, _, err = ann2snn(f"recheck {path}")
    assert code == 2 and "--weights" in err and one_sentence(err)
    other = put(tmp_path / "other", seed=1)
    code, _, err = ann2snn(f"recheck {path} --weights {other}")
    assert code == 2 and "does not hold" in err and one_sentence(err)


def test_inspect_names_what_converts_and_what_does_not(ann2snn, tmp_path):
    path = put(tmp_path)
    code, out, _ = ann2snn(f"inspect {path} --T 8")
    assert code == 0 and "5 spiking layers" not in out and "4 spiking layers" in out
    assert "V_th" in out and "dead units" in out and "0.0625" in out  # y_th / (2 T) = 1 / 16
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3), nn.SiLU())\n"
    )
    code, out, _ = ann2snn("inspect mine:net --shape 3 8 8")
    assert code == 1 and "2 of 4 nodes cannot be converted" in out and "gelu" in out and "silu" in out
    sys.modules.pop("mine", None)


def test_inspect_is_the_same_in_every_run(ann2snn):
    (_, first, _), (_, second, _) = (ann2snn("inspect digits_plain --dataset digits --T 8") for _ in range(2))
    assert "V_th" in first and first == second


def test_nan_weights_are_named(ann2snn, tmp_path):
    path = put(tmp_path)
    held = torch.load(path, weights_only=True)
    name, value = next(iter(held["state_dict"].items()))
    value.view(-1)[0] = float("nan")
    torch.save(held, path)
    code, _, err = ann2snn(f"inspect {path}")
    assert code == 2 and name in err and one_sentence(err)


def test_a_full_disk_leaves_nothing_half_written(ann2snn, tmp_path, monkeypatch):
    put(tmp_path / "runs")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ann2snn.files.os.fsync", full)
    code, _, err = ann2snn(SWEEP)
    assert code == 2 and "disk is full" in err
    assert not list(tmp_path.rglob("records/**/*"))[1:] or not [
        p for p in tmp_path.rglob("records/**/*") if p.is_file()
    ]


def test_the_page_of_reasons_is_fresh():
    page = Path(__file__).parents[2] / "docs" / "not-convertible.md"
    assert page.read_text() == not_convertible.page()
