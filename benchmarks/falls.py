"""Why some accuracies fall as T grows: the experiment behind docs/falls.md.

`python -m ann2snn.benchmarks.falls > docs/falls.md`, in the checkout; half a minute.
"""

from pathlib import Path

import torch
from tabulate import tabulate

from ann2snn import records
from ann2snn.calibration import Statistics
from ann2snn.conversion import find
from ann2snn.data import load
from ann2snn.diagnosis import evenly_timed, through
from ann2snn.graph import prepare
from ann2snn.neurons import IF
from ann2snn.recheck import find_weights
from ann2snn.simulation import simulate
from ann2snn.sources import Source

RESULTS = Path("results")
PAGE = """\
# Why some accuracies fall as T grows

<!-- Generated: `python -m ann2snn.benchmarks.falls > docs/falls.md`. Do not edit. -->

The leaderboard lists every adjacent pair of T's at which the accuracy falls significantly. On the digits with ReLU and
threshold ReLU most are of hard reset; those of soft reset are of methods with the shift V/(2T) (`optimal`, `mmse`), on
the two residual networks, from T = 1 or 2. For `optimal` with soft reset and `opi` with both, on sources where one of
them falls, these tables give the test accuracy in % on the same weights

- as it was measured (*streaming*: spikes arrive when the layer before sends them);
- *in float64*: a difference to streaming would mean that float ties decide;
- *evenly timed*: the same neurons, but every layer gets the mean of its input at every step. A difference to streaming
  is what the uneven timing of spikes costs; all else (thresholds, shift, start, reset, T) is the same;

and the bias of the last spiking layer: its mean output against the ANN's.

What they say:

- **Float ties do not matter.** In float64 every accuracy is the same.
- **Soft reset falls because of timing.** Evenly timed, `optimal` does not fall by more than 3 images; streaming, it
  does. A neuron that starts at zero and is lifted by V/(2T) a step sends its first spikes late; the layer behind it
  waits for them, and the lateness adds up with depth. (With ReLU the last layer fires too much at T = 4 and 8
  instead: lateness alone does not explain that source.) At T = 1 there is no timing. `opi` has the same quantiser,
  with its half threshold there from the start: its soft-reset curves do not fall, and at T = 4 it is ahead on every
  source here.
- **Hard reset falls by itself.** Evenly timed it falls too, or stays behind: each spike throws away what exceeds the
  threshold. One step loses nothing that could still become a spike; the more steps, the nearer the bias comes to its
  limit, and the less the shift V/(2T) or the start V/2 hide it. Uneven timing adds to it on the digits network; on
  the timm network it delays the fall.
- **No defect was found**: the staircase of every neuron is exact (tests/test_neurons.py), and evenly timed the
  soft-reset networks reach their ANN.
"""
CASES = (  # network, activation, training seed, method, reset
    ("test_resnet", "threshold_relu:1", 1, "optimal", "soft"),
    ("test_resnet", "threshold_relu:1", 1, "opi", "soft"),
    ("test_resnet", "threshold_relu:1", 1, "opi", "hard"),
    ("digits_residual", "relu", 0, "optimal", "soft"),
    ("digits_residual", "relu", 0, "opi", "soft"),
    ("digits_residual", "threshold_relu:1", 2, "optimal", "soft"),
    ("digits_residual", "threshold_relu:1", 2, "opi", "hard"),
)
T = (1, 2, 4, 8, 16, 32)


def experiment(network: str, activation: str, seed: int, method: str, reset: str) -> str:
    """One table: a line for every T."""
    path, record = next(
        (path, record)
        for path in sorted((RESULTS / "records").rglob("*.json"))
        if (job := (record := records.load(path))["job"])["network"] == network
        and (job["activation"], job["seed"], job["method"]) == (activation, seed, method)
        and job["options"]["reset"] == reset
    )
    data = load(record["job"]["dataset"])
    source = Source(data, find_weights(path, record))
    images, labels = data.test.__getitems__(range(len(data.test)))
    stats, _ = source.statistics(record["job"]["calibration"], record["job"]["calibration_seed"])
    double = prepare(source.net, images[:1]).double()
    double_stats = Statistics(double, lambda: (x.double() for x, _ in data.calibration(1024).batches(500)))
    lines = []
    with torch.inference_mode():
        *_, (name, (_, expected)) = through(source.ann, images).items()
        for t in T:
            snn = find(method)(source.ann, stats, t, reset=reset)
            result = simulate(snn, images, t)
            exact = simulate(find(method)(double, double_stats, t, reset=reset), images.double(), t)
            even = evenly_timed(snn, t)(images).argmax(1)
            neuron = next(m for m in snn.children() if isinstance(m, IF) and m.name == name)
            mean = (result.events[t][name] * neuron.v_th).sum() / (t * expected.sum())
            accuracies = [100 * (found == labels).float().mean().item() for found in
                          (result.predictions(t), exact.predictions(t), even)]  # fmt: skip
            lines.append([t, *(f"{a:.1f}" for a in accuracies), f"{100 * (mean.item() - 1):+.0f} %"])
    ann = 100 * record["ann"]["test"]["correct"] / record["ann"]["test"]["n"]
    title = f"## {network}, {activation}, seed {seed}: {method}, {reset} reset (ANN {ann:.1f})"
    heads = ["T", "streaming", "in float64", "evenly timed", f"bias of {name}"]
    return f"{title}\n\n{tabulate(lines, heads, tablefmt='github', disable_numparse=True)}\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(PAGE)
    for case in CASES:
        print(experiment(*case), flush=True)
