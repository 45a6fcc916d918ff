"""Numbers of the records, as the prose of README.md and docs/findings.md prints them.

A paragraph or list item ends with a comment such as `<!-- check: acc(PUBLIC, "ftbc", 16); ann(PUBLIC) -->`, which
GitHub does not show. Its expressions use the functions and sources of this module. They give the numbers of the text,
in order.
"""

import json
import re
from fractions import Fraction
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev

from ann2snn.leaderboard.paired import paired
from ann2snn.leaderboard.published import load as load_published
from ann2snn.methods.registry import discover
from ann2snn.metrics import energy
from ann2snn.records.job import label, recipe_name

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")

RESNET20 = ("cifar10", "cifar_resnet20")
PUBLIC = (*RESNET20, "relu", "akamaster")
RELU = (*RESNET20, "relu", "cifar")
THRESHOLD, THRESHOLD_2, THRESHOLD_4 = ((*RESNET20, f"threshold_relu:{y}", "cifar") for y in (1, 2, 4))
QCFS, QCFS_8, TCL = ((*RESNET20, activation, "cifar") for activation in ("qcfs:4", "qcfs:8", "tcl"))
QCFS_TUNED = (*RESNET20, "qcfs:4", "tuned")
CIFAR100 = ("cifar100", "cifar_resnet20", "threshold_relu:2", "cifar")
VGG = ("cifar10", "deng_vgg16", "threshold_relu:1", "bn_free")
VGG_REMOVED = ("cifar10", "deng_vgg16", "threshold_relu:1", "bn_removed")
VGG_BN = ("cifar10", "deng_vgg16_bn", "threshold_relu:1", "cifar_short")
PLAIN_RELU, PLAIN_THRESHOLD = (("digits", "digits_plain", a, "digits") for a in ("relu", "threshold_relu:1"))
RESIDUAL_RELU, RESIDUAL_THRESHOLD = (("digits", "digits_residual", a, "digits") for a in ("relu", "threshold_relu:1"))


@cache
def all_records(dataset):
    files = sorted((RESULTS / "records" / dataset).rglob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


@cache
def records(source, method=None, calibration=1024):
    """The records of a source, by seed; `method` is a label such as `channel_norm start=0.5`."""
    found = []
    for record in all_records(source[0]):
        job = record["job"]
        if (job["dataset"], job["network"], job["activation"], recipe_name(job["recipe"])) != source:
            continue
        usual = job["calibration"] == calibration and job["calibration_transform"] == "none"
        if method is None or (usual and not job["calibration_seed"] and label(job["method"], job["options"]) == method):
            found.append(record)
    assert found, (source, method, calibration)
    return found


def percent(share):
    return f"{float(100 * share):.1f}"


def share(part):
    return Fraction(part["correct"], part["n"])


def acc(source, method, *T, seed=None, split="test"):
    """Accuracies in %, the mean over the seeds of the source."""
    made = [r for r in records(source, method) if seed is None or r["job"]["seed"] == seed]
    return [percent(mean(share(r["T"][str(t)][split]) for r in made)) for t in T]


def std(source, method, T):
    return [percent(stdev(share(r["T"][str(T)]["test"]) for r in records(source, method)))]


def ann(source, seed=None):
    """The accuracy of the ANN in %, the mean over its seeds."""
    made = [r for r in records(source) if seed is None or r["job"]["seed"] == seed]
    return [percent(mean({r["job"]["seed"]: share(r["ann"]["test"]) for r in made}.values()))]


def difference(first, second):
    """The difference of two printed numbers, such as `difference(ann(VGG_BN), ann(VGG))`."""
    return [f"{float(first[0]) - float(second[0]):.1f}"]


def latency(source, method, T):
    (steps,) = {record["T"][str(T)]["latency"] for record in records(source, method)}
    return [str(steps)]


def operations(source, method, T):
    """Synaptic operations per multiply-accumulate of the ANN, without the layers that read the image."""
    shares = []
    for r in records(source, method):
        macs = sum(n for layer, n in r["network"]["macs"].items() if layer not in r["network"]["analog"])
        shares.append(sum(r["T"][str(T)]["operations"].values()) / r["data"]["n"]["test"] / macs)
    return [f"{mean(shares):.1f}"]


def cost(source, method, T, *hardware):
    """Energy in units of the ANN's."""
    counts = [energy.of_record(record, T) for record in records(source, method)]
    return [f"{mean(c.snn(h) / c.ann(h) for c in counts):.2f}" for h in hardware]


def calibration_loss(source, method, T, images):
    """Points that another number of calibration images than 1,024 costs."""
    others, usual = records(source, method, calibration=images), records(source, method)
    (pair,) = (paired(a, b, T) for a in others for b in usual if a["job"]["seed"] == b["job"]["seed"])
    return [percent(pair.difference)]


def near(dataset):
    """Of ENERGY.md: rows within a point of their ANN, all rows, and those that need less energy, by hardware."""
    text = (RESULTS / "ENERGY.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^- \*\*{dataset}\*\*: (.*)$", text, re.MULTILINE)
    here, of = re.match(r"(\d+) of (\d+) rows", line).groups()
    return [here, of, *re.findall(r"(\d+) in ", line.partition("less energy than their ANN")[2])]


@cache
def diagnosis(source, seed=0):
    dataset, network, activation, recipe = source
    name = f"{network}-{activation.replace(':', '-')}-{recipe}-*-seed{seed}.json"
    (path,) = (RESULTS / "diagnosis" / dataset).glob(name)
    return json.loads(path.read_text(encoding="utf-8"))


def evenly(source, *T):
    """Accuracies in % with the mean input of every layer at every step."""
    return [percent(diagnosis(source)["T"][str(t)]["evenly"]) for t in T]


def spiking(source, *T):
    """Accuracies in % of the spiking network on the images of the diagnosis."""
    return [percent(diagnosis(source)["T"][str(t)]["spiking"]) for t in T]


def diagnosed_ann(source):
    return [percent(diagnosis(source)["ann"])]


def spread(source):
    """Standard deviation of the pre-activations of the median layer, in units of V."""
    found = diagnosis(source)["T"]
    return [f"{median(x['spread'] for x in found[max(found, key=int)]['layers']):.1f}"]


def paper(network, *T):
    """What the paper reports for CIFAR-10, second hand."""
    found = load_published(RESULTS / "published.csv")
    same = {(x.T, x.accuracy) for x in found
            if (x.method, x.pipeline, x.dataset, x.network) == ("optimal", "own", "cifar10", network)}  # fmt: skip
    return [f"{float(dict(same)[t]):.1f}" for t in T]


def methods():
    """The number of conversion methods: all but the switches of released code."""
    return [str(len([m for m in discover() if m != "deng_code"]))]


FLOAT32, INT8, MEMORY = energy.FLOAT32, energy.INT8, energy.MEMORY


def expected(expressions):
    found = []
    for expression in expressions.split(";"):
        if expression.strip():
            value = eval(" ".join(expression.split()), globals())
            found += [str(value)] if isinstance(value, (int, str)) else value
    return found


def blocks(text):
    """(prose, expressions) of every paragraph and list item; the expressions are "" where it has no comment."""
    text = re.sub(r"```.*?```|<!-- table:begin -->.*?<!-- table:end -->", "", text, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n|\n(?=- |\d+\. )", text):
        expressions = " ; ".join(re.findall(r"<!-- check:(.*?)-->", block, re.DOTALL))
        prose = re.sub(r"<!--.*?-->|`[^`]*`|\]\([^)]*\)|^#+ .*$", " ", block, flags=re.DOTALL | re.MULTILINE)
        yield re.sub(r"^\d+\. ", "", prose.strip()), expressions


def problems(prose, expressions):
    """What of the text is not what the records say."""
    left = NUMBER.findall(prose)
    for number in expected(expressions):
        while left and left[0] != number and "." not in left[0]:
            left.pop(0)
        if not left or left[0] != number:
            return f"the records give {number} where the text has {' '.join(left[:6]) or 'no number'}"
        left.pop(0)
    unchecked = [number for number in left if "." in number]
    return f"no expression checks {' '.join(unchecked)}" if unchecked else ""
