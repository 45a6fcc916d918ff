"""Where the time of a simulation goes, by Python's profiler."""

import cProfile
import pstats

from ann2snn.benchmarks.speed.cases import NETWORKS, Case  # type: ignore

PARTS = (NATIVE := "C: layers of neurons and synapses", PYTORCH := "PyTorch: all other layers", PYTHON := "Python")


def profile(options) -> list[dict]:
    """Where the time of a simulation goes."""
    rows = []
    for name in NETWORKS:
        run = Case.named(name, options).simulation(32)
        run()
        profiler = cProfile.Profile()
        profiler.runcall(run)
        spent = by_part(pstats.Stats(profiler))
        total = sum(spent.values())
        rows += [{"network": name, "part": p, "share": f"{100 * s / total:.1f} %"} for p, s in spent.items()]
    return rows


def by_part(stats: pstats.Stats) -> dict[str, float]:
    """Seconds of every part. The time of `layer.c` is that of the Python function that calls it."""
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for (file, _, function), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        is_torch = file == "~" and "torch" in function
        spent[NATIVE if file.endswith("c_call.py") else PYTORCH if is_torch else PYTHON] += own
    return spent
