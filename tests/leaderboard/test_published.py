import csv
import io
import re
from itertools import groupby
from pathlib import Path

import pytest

from ann2snn.data.registry import names
from ann2snn.errors import UserError
from ann2snn.leaderboard.published import COLUMNS, CONFIDENCES, DATASETS, Published, find, load
from ann2snn.networks import registry as networks_registry

FILE = Path(__file__).parents[2] / "results" / "published.csv"
ROWS = load(FILE)

RERUN = "re-run of the released checkpoints by wu2024ftbc"
LI = "re-implementation by li2021snnc"
# Deng & Gu's numbers and their independent re-run at T = 16, 32, 64 and 128; the ANN of the re-run
PAPER = {
    ("cifar10", "deng_vgg16", "own"): (92.29, 92.29, 92.22, 92.24),
    ("cifar10", "deng_vgg16", RERUN): (92.39, 92.26, 92.20, 92.25),
    ("cifar10", "deng_resnet20", "own"): (92.41, 93.30, 93.55, 93.55),
    ("cifar10", "deng_resnet20", RERUN): (91.53, 92.42, 92.87, 93.09),
    ("cifar100", "deng_vgg16", "own"): (65.94, 69.80, 70.35, 70.47),
    ("cifar100", "deng_vgg16", RERUN): (62.63, 70.14, 70.37, 70.57),
    ("cifar100", "deng_resnet20", "own"): (63.73, 68.40, 69.27, 69.49),
    ("cifar100", "deng_resnet20", RERUN): (62.50, 68.14, 69.31, 69.61),
    ("imagenet", "deng_vgg16_imagenet", "own"): (55.80, 67.73, 70.97, 71.89),
}
ANN = {
    ("cifar10", "deng_vgg16", RERUN): [92.18],
    ("cifar10", "deng_resnet20", RERUN): [93.25],
    ("cifar100", "deng_vgg16", RERUN): [70.38],
    ("cifar100", "deng_resnet20", RERUN): [63.80, 69.80],
    ("imagenet", "deng_vgg16_imagenet", "own"): [72.16, 72.40],
}
LATE = {  # T = 400-600, from memory
    ("cifar10", "deng_vgg16"): 92.18,
    ("cifar10", "deng_resnet20"): 93.58,
    ("cifar100", "deng_vgg16"): 70.55,
    ("cifar100", "deng_resnet20"): 69.82,
    ("imagenet", "deng_vgg16_imagenet"): 72.09,
}


def deng(dataset, network, pipeline, **wanted):
    return find(ROWS, paper="deng2021", dataset=dataset, network=network, pipeline=pipeline, **wanted)


@pytest.mark.parametrize("cell", PAPER, ids=" ".join)
def test_the_papers_numbers_and_their_rerun(cell):
    for T, accuracy in zip((16, 32, 64, 128), PAPER[cell], strict=True):
        assert accuracy in [row.accuracy for row in deng(*cell, T=T)], T
    assert {row.T for row in deng(*cell)} - {None, "400-600"} == {16, 32, 64, 128}
    assert sorted(row.accuracy for row in deng(*cell, T=None)) == ANN.get(cell, [])
    if cell[2] == "own":
        [late] = deng(*cell, T="400-600")
        assert (late.accuracy, late.confidence) == (LATE[cell[:2]], "memory")
    else:
        assert {row.confidence for row in deng(*cell)} == {"seen"}
        assert {row.ann for row in deng(*cell)} == set(ANN[cell])


def test_one_name_two_pipelines():
    """The paper's own VGG-16 on CIFAR-100 and the one with batch norm are never one row."""
    rows = find(ROWS, paper="deng2021", method="optimal", dataset="cifar100", T=32)
    told = {(row.network, row.pipeline): row.accuracy for row in rows if row.network.endswith("vgg16")}
    assert told == {("deng_vgg16", "own"): 69.80, ("deng_vgg16", RERUN): 70.14, ("cifar_vgg16", LI): 7.64}
    [imagenet] = find(ROWS, paper="deng2021", dataset="imagenet", T=32, ann=75.36)
    assert (imagenet.accuracy, imagenet.network, imagenet.pipeline) == (0.114, "", LI)


# ------------------------------------------------------------------------- contradictions in the literature, all marked


def marked(word, **wanted):
    """The rows that match, of which each has `word` in its remark."""
    rows = find(ROWS, **wanted)
    assert rows and all(word in row.remark for row in rows), wanted
    return rows


def test_opi_and_qcfs_print_the_same_series():
    opi = marked("copy error", paper="bu2022opi", dataset="cifar10", architecture="ResNet-18")
    qcfs = marked("copy error", paper="bu2022qcfs", dataset="cifar10", network="cifar_resnet18")
    series = [75.44, 90.43, 94.82, 95.92, 96.08, 96.06, 96.06]
    assert [row.accuracy for row in opi] == [row.accuracy for row in qcfs] == series
    assert [row.T for row in opi] == [8, 16, 32, 64, 128, 256, ">=512"]
    assert [row.T for row in qcfs] == [2, 4, 8, 16, 32, 64, ">=512"]


def test_no_other_two_series_share_their_numbers():
    """Three accuracies in common are no accident."""
    series = {}
    for row in ROWS:
        name = (row.paper, row.method, row.pipeline, row.dataset, row.architecture)
        series.setdefault(name, set()).add(row.accuracy)
    same = [{a[0], b[0]} for a in series for b in series if a < b and len(series[a] & series[b]) > 2]
    assert same == [{"bu2022opi", "bu2022qcfs"}]


def test_a_misprint():
    [row] = marked("95.42", paper="deng2021", pipeline=LI, accuracy=94.42)
    assert (row.dataset, row.T, row.ann) == ("cifar10", ">=512", 95.46)


def test_an_energy_ten_times_too_high():
    [row] = marked("0.066", paper="li2021snnc", method="SNNC-AP", dataset="cifar100", network="cifar_vgg16", T=32)
    assert row.accuracy == 73.55


def test_three_reports_of_rmp_on_imagenet():
    rows = [row for row in find(ROWS, paper="han2020rmp", architecture="ResNet-34") if row.T != 256]
    assert {row.T: row.accuracy for row in rows} == {">=512": 60.08, ">=1024": 65.47, 4096: 69.89}
    assert all("Three reports" in row.remark for row in rows)
    [sengupta] = marked("same number", paper="sengupta2019", dataset="imagenet", architecture="ResNet-34")
    assert sengupta.accuracy == 65.47


def test_text_against_table():
    rows = marked("63.30", paper="han2020rmp", dataset="cifar10", architecture="VGG-16", T=32)
    assert sorted(row.accuracy for row in rows) == [60.30, 63.30]


def test_a_misquotation():
    [wrong] = marked("misquotation", paper="deng2021", dataset="cifar100", accuracy=67.73)
    [right] = marked("POLARA", paper="deng2021", dataset="imagenet", accuracy=67.73)
    assert (wrong.network, right.network, wrong.T, right.T) == ("", "deng_vgg16_imagenet", 32, 32)


def test_two_reports_of_one_ann():
    assert {row.ann for row in marked("72.40", network="deng_vgg16_imagenet")} == {72.16, 72.40}
    cell = {"network": "deng_resnet20", "dataset": "cifar100", "pipeline": RERUN}
    assert {row.ann for row in marked("63.80", **cell)} == {63.80, 69.80}


def test_a_bare_name_says_that_it_is_one():
    """Three networks go by ResNet-20, and several by VGG-16: a row says which one, or that it is not known."""
    for row in ROWS:
        assert (row.architecture in ("VGG-16", "ResNet-20")) == ("Several networks have this name" in row.remark)
    assert len({row.architecture for row in ROWS if row.architecture.startswith("ResNet-20:")}) == 3


# ------------------------------------------------------------------------------------------------------ the whole file


def test_the_file():
    assert len(ROWS) == FILE.read_text(encoding="utf-8").count("\n") - 1 > 500
    assert {row.dataset for row in ROWS} == set(DATASETS) and set(DATASETS) - {"mnist"} <= set(names())
    assert {row.confidence for row in ROWS} == set(CONFIDENCES)
    for row in ROWS:
        assert row.T is not None or row.ann == row.accuracy, row  # an ANN's own row
        assert (row.confidence == "memory") == ("From memory only." in row.remark), row
        assert row.T != "?" or "not known" in row.remark, row
        assert row.ann is None or row.accuracy < row.ann + 1, row
        assert row.network == "" or row.dataset != "mnist"
        assert not re.search(r"(^|[ (])[./~]*/|\\|file:", row.source), row  # no path of anyone's machine
        assert all(text == " ".join(text.split()) for text in vars(row).values() if isinstance(text, str)), row


def test_networks_are_ours_or_timms():
    import timm

    for name in {row.network for row in ROWS} - {""}:
        assert name in networks_registry.names() or timm.is_model(name), name


def test_one_network_has_one_architecture():
    """And one architecture one network, or none at all."""
    pairs = {(row.network, row.architecture) for row in ROWS if row.network}
    assert len({network for network, _ in pairs}) == len({architecture for _, architecture in pairs}) == len(pairs)
    assert all(row.network or row.architecture not in {a for _, a in pairs} for row in ROWS)


def test_rows_of_one_cell_are_marked():
    def cell(row):
        return (row.paper, row.method, row.pipeline, row.dataset, row.architecture, str(row.T))

    twice = [group for _, rows in groupby(sorted(ROWS, key=cell), cell) if len(group := list(rows)) > 1]
    assert len(twice) == 4
    assert all(row.remark for group in twice for row in group)


def test_two_pass_methods_count_their_first_pass():
    steps = {(row.paper, row.architecture): row.extra_steps for row in ROWS if row.extra_steps}
    assert {paper for paper, _ in steps} == {"hao2023srp", "hao2023cos"}
    assert steps["hao2023srp", "ResNet-34"] == steps["hao2023cos", "ResNet-34"] == 8
    for paper in ("hao2023srp", "hao2023cos"):
        assert all(row.extra_steps for row in find(ROWS, paper=paper))


# ---------------------------------------------------------------------------------------------------------- the loader

GOOD = {
    "paper": "me2026",
    "year": "2026",
    "method": "mine",
    "pipeline": "own",
    "dataset": "cifar10",
    "network": "deng_vgg16",
    "architecture": "VGG-16, as I build it",
    "ann": "92.5",
    "T": "16",
    "extra_steps": "4",
    "accuracy": "91",
    "source": "table 1",
    "confidence": "seen",
    "remark": "",
}


@pytest.fixture
def write(tmp_path):
    def write(*rows, columns=COLUMNS):
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path = tmp_path / "published.csv"
        path.write_text(out.getvalue(), encoding="utf-8")
        return path

    return write


def test_a_row(write):
    optional = dict.fromkeys(("network", "ann", "T", "extra_steps", "remark"), "")
    kinds = [GOOD, GOOD | optional, *(GOOD | {"T": T} for T in (">=512", "400-600", "?"))]
    rows = load(write(*kinds))
    assert rows[0] == Published(
        "me2026", 2026, "mine", "own", "cifar10", "deng_vgg16", "VGG-16, as I build it", 92.5, 16, 4, 91.0, "table 1",
        "seen", "",
    )  # fmt: skip
    assert [row.T for row in rows] == [16, None, ">=512", "400-600", "?"]
    assert (rows[1].ann, rows[1].network, rows[1].extra_steps) == (None, "", 0)
    assert find(rows, T=None) == [rows[1]]
    assert find(rows, T=16, network="deng_vgg16", pipeline="own") == [rows[0]]
    assert find(rows, T=16, network="cifar_vgg16") == []
    assert find(rows) == rows


def test_columns_in_another_order(write):
    assert load(write(GOOD, columns=COLUMNS[::-1])) == load(write(GOOD))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"accuracy": "ninety"}, "accuracy is 'ninety', not a number"),
        ({"accuracy": "100.01"}, "accuracy is 100.01, not between 0 and 100 %"),
        ({"accuracy": "-1"}, "accuracy is -1, not between 0 and 100 %"),
        ({"accuracy": "nan"}, "accuracy is nan, not between 0 and 100 %"),
        ({"accuracy": ""}, "it has no accuracy"),
        ({"ann": "9244"}, "ann is 9244, not between 0 and 100 %"),
        ({"ann": "?"}, "ann is '?', not a number"),
        ({"year": "'26"}, 'year is "\'26", not a whole number'),
        ({"extra_steps": "-4"}, "extra_steps is '-4', not a whole number"),
        ({"T": "0"}, "T is '0'; write a number of steps, '>=512', '400-600', '?', or nothing for an ANN"),
        ({"T": "16.5"}, "T is '16.5'; write a number of steps, '>=512', '400-600', '?', or nothing for an ANN"),
        ({"dataset": "CIFAR-10"}, "'CIFAR-10' is no known dataset (cifar10, cifar100, imagenet, mnist)"),
        ({"confidence": "sure"}, "'sure' is no known confidence (seen, seen-2nd, memory)"),
        ({"source": " "}, "it has no source"),
        ({"paper": ""}, "it has no paper"),
    ],
    ids=str,
)
def test_a_defect_is_named(write, change, says):
    path = write(GOOD, GOOD | {"T": "32"} | change)
    with pytest.raises(UserError) as error:
        load(path)
    assert str(error.value) == f"{path}, line 3: {says}."


def test_repeated_rows(write):
    other = GOOD | {"accuracy": "90"}
    says = "line 4: it repeats line 2; remove one, or say in the remarks of both why there are two."
    between = GOOD | {"T": "32"}
    remarks = {"remark": "Two reports."}
    for first, second in [(GOOD, GOOD), (GOOD, other), (GOOD | remarks, other), (GOOD, other | remarks)]:
        with pytest.raises(UserError, match=re.escape(says)):
            load(write(first, between, second))
    with pytest.raises(UserError, match="it repeats line 2"):
        load(write(GOOD | remarks, GOOD | remarks))
    with pytest.raises(UserError, match="line 4: it repeats line 2"):
        load(write(GOOD | remarks, other | remarks, other | remarks))
    assert len(load(write(GOOD | remarks, between, other | remarks))) == 3
    for name in ("paper", "method", "pipeline", "architecture"):
        assert len(load(write(GOOD, GOOD | {name: "another"}))) == 2


@pytest.mark.parametrize(
    "header, says",
    [
        (",".join([*COLUMNS, "seeds"]), "the column 'seeds' is unknown"),
        (",".join(COLUMNS[:-1]), "the column 'remark' is missing"),
        (",".join([*COLUMNS, "paper"]), "the column 'paper' is there twice"),
        ("", "the column 'paper' is missing"),
    ],
)
def test_columns(tmp_path, header, says):
    path = tmp_path / "published.csv"
    path.write_text(f"{header}\n")
    with pytest.raises(UserError, match=re.escape(f"{path}, line 1: {says}.")):
        load(path)


def test_files(write, tmp_path):
    path = write(GOOD)
    path.write_text(path.read_text() + "one,two\n")
    with pytest.raises(UserError, match="line 3: it has 2 cells for 14 columns"):
        load(path)
    path.write_text("")
    with pytest.raises(UserError, match="line 1: the column 'paper' is missing"):
        load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"cannot be read \(it is not UTF-8\)"):
        load(path)
    with pytest.raises(UserError, match=r"absent.csv cannot be read \(No such file or directory\)"):
        load(tmp_path / "absent.csv")
