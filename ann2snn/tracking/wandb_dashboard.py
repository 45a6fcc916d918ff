"""The W&B dashboard: a saved view of the runs that `wandb_runs.log_record` logs.

`spec` returns the dashboard as plain data. `save` uploads it, which needs the package wandb-workspaces and a key.
"""

import importlib.util
import json
import subprocess
import sys

from ann2snn.errors import UserError
from ann2snn.tracking import wandb_session

FILTERS = ("dataset", "network", "method")
COLUMNS = (  # of the table of runs, in W&B's notation
    *(f"config:{name}.value" for name in ("dataset", "network", "activation", "method")),
    *("config:options.value.reset", "config:seed.value", "summary:ann/test", "summary:loss/T16", "summary:loss/T32"),
    *("config:source.value.training_seconds", "config:provenance.value.cpu", "config:provenance.value.threads"),
)
LIMIT = 180  # seconds for saving, including the import of W&B in a new process


def spec(entity: str | None, project: str, names: dict[str, list[str]]) -> dict:
    """The dashboard as plain data.

    Args:
        entity: W&B user or team that the project belongs to.
        project: Name of the project.
        names: Datasets, networks and methods that the runs are filtered by; the keys are in `FILTERS`.
    """
    return {
        "entity": entity,
        "project": project,
        "name": " ".join(["ann2snn", *(name for kind in FILTERS for name in names.get(kind, []))]),
        "job_type": "conversion",
        "filters": {kind: names.get(kind, []) for kind in FILTERS},
        "groupby": ["row"],  # the mean over seeds
        "columns": list(COLUMNS),
        "sections": [{"name": name, "panels": panels} for name, panels in _sections().items()],
    }


def _sections() -> dict[str, list[dict]]:
    """Panels of every section: a class of wandb_workspaces.reports.v2 and its arguments."""
    return {
        "Accuracy over T": [
            _line("Test accuracy", "snn/test", "%"),
            _line("Validation accuracy", "snn/validation", "%"),
            _bar("Test accuracy of the ANN", "ann/test", "%"),
        ],
        "Conversion loss at T": [
            _line("Loss: ANN - SNN of the same weights, test", "snn/loss", "points"),
            *(_bar(f"Loss at T = {T}", f"loss/T{T}", "points") for T in (8, 16, 32, 64, 128)),
        ],
        "Operations": [
            _line("Synaptic operations", "snn/operations_per_image", "per image", log_y=True),
            _line("Accuracy against operations", "snn/test", "%", x="snn/operations_per_image"),
            _line("Spikes", "snn/spikes_per_image", "per image", log_y=True),
            _bar("Multiply-accumulates of the ANN", "ann/macs_per_image", "per image"),
        ],
        "Speed": [
            _line("Simulation", "snn/seconds_per_image", "seconds per image", log_y=True),
            _line("Accuracy against time", "snn/test", "%", x="snn/seconds_per_image"),
        ],
    }


def _line(title: str, y: str, unit: str, x: str = "T", **more) -> dict:
    axes = {"x": x, "y": [y], "title_y": unit, "log_x": True}
    band = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return {"panel": "LinePlot", "title": title} | axes | band | more


def _bar(title: str, metric: str, unit: str) -> dict:
    return {"panel": "BarPlot", "title": title, "metrics": [metric], "title_x": unit, "groupby_aggfunc": "mean"}


def workspace(spec: dict):
    """The `wandb_workspaces` object of a dashboard. No key is needed."""
    import wandb_workspaces.reports.v2 as wr  # pyright: ignore[reportMissingImports]
    import wandb_workspaces.workspaces as ws  # pyright: ignore[reportMissingImports]

    def panel(arguments: dict):
        return getattr(wr, arguments["panel"])(**{k: v for k, v in arguments.items() if k != "panel"})

    return ws.Workspace(
        entity=spec["entity"],
        project=spec["project"],
        name=spec["name"],
        sections=[
            ws.Section(name=section["name"], panels=[panel(p) for p in section["panels"]], is_open=True)
            for section in spec["sections"]
        ],
        settings=ws.WorkspaceSettings(x_axis="T", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=_filters(spec),
            groupby=[ws.Config(name) for name in spec["groupby"]],
            pinned_columns=list(spec["columns"]),
        ),
    )


def _filters(spec: dict) -> str:
    """W&B's filter expression. A filter without names passes every run; it can be set in the browser."""
    terms = [f"Metric('JobType') in [{spec['job_type']!r}]"]
    for name, values in spec["filters"].items():
        terms.append(f"Config('{name}.value') " + (f"in {values!r}" if values else "!= ''"))
    return " and ".join(terms)


def save(spec: dict) -> str:
    """Saves the dashboard as a new view of the project, in a process of its own that ends within `LIMIT`.

    Returns:
        The address of the view.

    Raises:
        UserError: A package, a key or the entity is missing, or W&B fails.
    """
    hint = "; --dry-run shows the dashboard without it."
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("To save it, install wandb-workspaces (`pip install wandb-workspaces`)" + hint)
    if not wandb_session.key_configured():
        raise UserError("To save it, W&B needs a key: run `wandb login` or set WANDB_API_KEY" + hint)
    if not spec["entity"]:
        raise UserError("To save it, name the owner of the project: --entity NAME or WANDB_ENTITY" + hint)
    try:
        command = [sys.executable, "-m", "ann2snn.tracking.wandb_dashboard"]
        result = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise UserError(f"W&B did not answer within {LIMIT} seconds; check the network and run it again.") from None
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1].rstrip(".")
        raise UserError(f"W&B did not save the dashboard ({reason}); fix that and run it again.")
    return result.stdout.strip().splitlines()[-1]


def _save_here(spec: dict) -> None:
    """Saves the dashboard in this process and prints its address."""
    try:
        print(workspace(spec).save().url)
    except Exception as error:
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split())[:300])


if __name__ == "__main__":
    _save_here(json.load(sys.stdin))
