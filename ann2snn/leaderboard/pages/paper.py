"""Published results of Deng & Gu (ICLR 2021) beside those of this suite: the tables of `results/PAPER.md`.

Every table is a function of records, published numbers and diagnoses. `./reproduce.sh --profile paper --only ID` runs
the missing jobs of a table and prints it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ann2snn.experiments import profiles
from ann2snn.experiments.presets import DENG_NETWORKS, THRESHOLD_RELU
from ann2snn.leaderboard.inputs import PageInputs
from ann2snn.leaderboard.pages.paper_ablations import ablation_table, convention_table, threshold_table
from ann2snn.leaderboard.pages.paper_accuracy import ann_table, imagenet_table, length_table, others_table, snn_table
from ann2snn.leaderboard.pages.paper_diagnoses import convertible_table, layer_table

NAME = "PAPER.md"
PAGE = """\
# The paper's tables, measured

<!-- Generated from records/, diagnosis/, photographs.json and published.csv by `ann2snn leaderboard`. Do not edit. -->

S. Deng, S. Gu, "Optimal Conversion of Conventional Artificial Neural Networks to Spiking Neural Networks", ICLR 2021.
Accuracies are in % of the whole test set, losses (ANN - SNN of the same weights) in points, ± is the standard
deviation over n independently trained sources. Our sources are trained on 45,000 images of CIFAR, and the last epoch is
used; the other 5,000 images choose T and recipes. The paper trains on all 50,000 images and chooses the epoch on the
test set. Recipes: [recipes.py](../ann2snn/training/recipes.py). `akamaster` are public weights, trained by others on
all 50,000 images, so no T is chosen for them. The paper's networks are trained here with our recipe `bn_free`, which is
short enough for a CPU, and not with the paper's (`--recipe deng2021`: 300 epochs; its learning rate and epochs are from
memory). A loss inside the band is therefore no statement about the training.

[published.csv](published.csv) lists the published numbers and where each was read. The full text of the paper was not
among the sources: **its numbers here are second hand**, as quoted by other groups (`seen-2nd`). *not known*: in none of
the sources. *not run*: `./reproduce.sh --profile paper --only ID` (or `cifar`, `imagenet`) runs it; the ID is in
brackets after the title. -: there is no such number, or no profile makes it.
"""
UNOFFICIAL = "Our numbers of {} were measured on files whose checksum is not the official one."


@dataclass(frozen=True)
class Table:
    """One table of the page: its jobs by the ids of their sweeps, and its text."""

    id: str
    title: str
    text: Callable[[PageInputs], str]
    profiles: tuple[str, ...] = ()  # it uses all of their sweeps
    also: tuple[str, ...] = ()  # ids of further sweeps
    diagnosed: bool = False  # it uses diagnoses of the sources instead of records

    @property
    def sweeps(self) -> tuple[str, ...]:
        """The ids of the sweeps that the table uses."""
        return (*(sweep.id for name in self.profiles for sweep in profiles.find(name)), *self.also)


def wanted(inputs: PageInputs) -> bool:
    """Whether there are records of the paper's datasets."""
    return any(record["job"]["dataset"] in THRESHOLD_RELU for record in inputs.records)


def page(inputs: PageInputs) -> str:
    """The text of results/PAPER.md."""
    odd = sorted({r["job"]["dataset"] for r in inputs.records if not r["data"]["official"]})
    note = [UNOFFICIAL.format(" and ".join(odd)) + "\n"] if odd else []
    return "\n".join([PAGE, *note, *(section(table, inputs) for table in TABLES)])


def section(table: Table, inputs: PageInputs) -> str:
    """One table of the page, with its title."""
    return f"## {table.title} [{table.id}]\n\n{table.text(inputs)}"


ALL = ("paper", "cifar")
NETWORKS = tuple(f"{dataset}-{network}" for dataset in ("cifar10", "cifar100") for network in DENG_NETWORKS)
TABLES = (
    Table("ann", "Accuracy of the ANNs", ann_table, ALL),
    Table("snn", "Accuracy over T, beside the paper and a re-run of its checkpoints", snn_table, also=NETWORKS),
    Table("ablation", "With and without threshold, shift and soft reset", ablation_table, ALL),
    Table("length", "Number of steps: smallest T within 1 point of the ANN", length_table, ALL),
    Table("layers", "The error of every layer, beside V^2 / (12 T^2)", layer_table, ALL, diagnosed=True),
    Table("convertible", "What makes a source convertible", convertible_table, ALL, diagnosed=True),
    Table(
        "conventions",
        "The cost of the conventions of the released code",
        convention_table,
        also=("cifar10-resnet20", "cifar10-conventions", "cifar10-augmented"),
    ),
    Table("thresholds", "The threshold y_th", threshold_table, also=("cifar10-resnet20", "cifar10-thresholds")),
    Table("others", "Other methods on the same networks", others_table, ALL),
    Table("imagenet", "ImageNet, VGG-16", imagenet_table, ("imagenet",)),
    Table("photographs", "A network trained on ImageNet, on photographs", lambda inputs: inputs.photographs),
)
TABLE = {table.id: table for table in TABLES}
