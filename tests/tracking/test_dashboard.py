"""The W&B dashboard: it names what is logged, and what it names is built and sent. The server here is a local one."""

import http.server
import importlib.util
import json
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import pytest
from limits import LIMIT
from wandb_logs import history, inspect, runs

from ann2snn.errors import UserError
from ann2snn.methods.registry import METHODS
from ann2snn.tracking import wandb_dashboard, wandb_runs

SNAPSHOT = Path(__file__).with_name("dashboard.json")
DIGITS = {"dataset": ["digits"], "method": ["optimal", "opi"]}
installed = pytest.mark.skipif(
    importlib.util.find_spec("wandb_workspaces") is None, reason="wandb-workspaces is not installed"
)


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch, tmp_path, wandb_anew):
    """No key and no names of the user's."""
    for name in ("MODE", "API_KEY", "IDENTITY_TOKEN_FILE", "ENTITY", "PROJECT", "BASE_URL"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name in ("DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb-data"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("PYTHONPATH", str(Path(wandb_dashboard.__file__).parents[2]))


@pytest.fixture
def a_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)


def test_the_spec_is_the_committed_one(ann2snn):
    """After a change that is meant: `ann2snn dashboard --entity me --dry-run > tests/tracking/dashboard.json`."""
    code, out, err = ann2snn("dashboard --entity me --dry-run")
    assert (code, err) == (0, "")
    assert out == SNAPSHOT.read_text(encoding="utf-8")


def test_a_dry_run_needs_nothing(ann2snn, tmp_path, monkeypatch):
    for name in ("wandb", "wandb_workspaces"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    code, out, _ = ann2snn("dashboard --dry-run --dataset digits --method optimal opi")
    assert code == 0 and json.loads(out) == wandb_dashboard.spec(None, "mine", DIGITS)
    assert json.loads(out)["filters"] == {"dataset": ["digits"], "network": [], "method": ["optimal", "opi"]}
    assert list(tmp_path.iterdir()) == []


def test_methods_of_a_plug_in_can_be_named(ann2snn, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text("import ann2snn\n\n\n@ann2snn.method(paper='x')\ndef mine(ann, stats):\n    return ann\n")
    with patch.dict(METHODS):
        code, out, err = ann2snn(f"dashboard --dry-run --method mine --plugin {plugin}")
    assert code == 0 and json.loads(out)["filters"]["method"] == ["mine"], err


def test_one_section_for_each_table():
    sections = wandb_dashboard.spec("me", "mine", {})["sections"]
    assert [section["name"] for section in sections] == [
        "Accuracy over T",
        "Conversion loss at T",
        "Operations",
        "Speed",
    ]
    titles = [panel["title"] for section in sections for panel in section["panels"]]
    assert len(set(titles)) == len(titles)


def test_it_names_what_is_logged_and_all_of_it(make_record, tmp_path):
    wandb_runs.log_record(make_record(T={T: 9 for T in (1, 2, 4, 8, 16, 32, 64, 128)}), tmp_path, "offline")
    (run,) = runs(tmp_path)
    (found,) = inspect(run, "--summary")
    summary, steps = set(found["summary"]), {name for row in history(run) for name in row}
    config = {f"{name}.value" for name in found["config"]}
    nested = {name: value for name, value in found["config"].items() if isinstance(value, dict)}
    config |= {f"{name}.value.{inner}" for name, value in nested.items() for inner in value}
    about = next(line["run"] for line in inspect(run) if line["type"] == "run")

    spec = wandb_dashboard.spec("me", "mine", {})
    panels = [panel for section in spec["sections"] for panel in section["panels"]]
    curves = {name for panel in panels if panel["panel"] == "LinePlot" for name in [panel["x"], *panel["y"]]}
    bars = {name for panel in panels if panel["panel"] == "BarPlot" for name in panel["metrics"]}
    assert curves <= steps and bars <= summary
    assert set(spec["columns"]) <= {f"config:{name}" for name in config} | {f"summary:{name}" for name in summary}
    assert {f"{name}.value" for name in [*spec["groupby"], *spec["filters"]]} <= config
    assert about["job_type"] == spec["job_type"]
    assert curves == {name for name in steps if name == "T" or name.startswith("snn/")}  # none is forgotten


# ------------------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize(
    "package, key, line, says",
    [
        (False, True, "--entity me", "install wandb-workspaces"),
        (True, False, "--entity me", "run `wandb login`"),
        (True, True, "", "--entity NAME"),
    ],
)
def test_what_is_missing_is_one_sentence(ann2snn, monkeypatch, package, key, line, says):
    monkeypatch.setattr(wandb_dashboard.importlib.util, "find_spec", lambda name: package or None)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    code, out, err = ann2snn(f"dashboard --project mine {line}")
    assert (code, out) == (2, "") and says in err and "--dry-run" in err and len(err.splitlines()) == 1


@installed
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its use of pydantic
def test_the_workspace_is_built_without_a_key():
    spec = wandb_dashboard.spec("me", "mine", DIGITS)
    built = json.loads(wandb_dashboard.workspace(spec)._to_model().model_dump_json(by_alias=True, exclude_none=True))
    assert (built["entity"], built["project"], built["displayName"]) == ("me", "mine", "ann2snn digits optimal opi")
    section = built["spec"]["section"]
    for made, meant in zip(section["panelBankConfig"]["sections"], spec["sections"], strict=True):
        assert made["name"] == meant["name"] and made["isOpen"]
        for panel, wish in zip(made["panels"], meant["panels"], strict=True):
            assert panel["viewType"] == {"LinePlot": "Run History Line Plot", "BarPlot": "Bar Chart"}[wish["panel"]]
            assert panel["config"]["chartTitle"] == wish["title"]
            assert panel["config"]["metrics"] == wish.get("y", wish.get("metrics"))
            assert panel["config"].get("xAxis") == wish.get("x")
    (runset,) = section["runSets"]
    assert [(f["key"]["name"], f["op"], f["value"]) for f in runset["filters"]["filters"]] == [
        ("jobType", "IN", ["conversion"]),
        ("dataset.value", "IN", ["digits"]),
        ("network.value", "!=", ""),
        ("method.value", "IN", ["optimal", "opi"]),
    ]
    assert runset["grouping"] == [{"section": "config", "name": "row.value"}]
    assert runset["runFeed"]["columnOrder"] == ["run:displayName", *spec["columns"]]


class Server(http.server.ThreadingHTTPServer):
    """As much of W&B as saving asks for. `silent`: it takes every request and never answers."""

    daemon_threads = True

    def __init__(self, silent=False, errors=None):
        super().__init__(("127.0.0.1", 0), Answer)
        self.silent, self.errors, self.saved, self.over = silent, errors, [], threading.Event()


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.silent:
            self.server.over.wait(LIMIT)
            return
        asked = json.loads(body) if self.path == "/graphql" else {"query": ""}
        user = {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        answer: dict = {"data": {"viewer": user}}
        if "upsertView" in asked["query"]:
            self.server.saved.append(asked["variables"])
            view = {"id": "1", "name": asked["variables"]["name"]}
            answer = self.server.errors or {"data": {"upsertView": {"view": view, "inserted": True}}}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_): ...


@pytest.fixture
def serve(monkeypatch, a_key):
    started = []

    monkeypatch.setattr(wandb_dashboard, "LIMIT", LIMIT)

    def start(**how):
        server = Server(**how)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        started.append(server)
        return server

    yield start
    for server in started:
        server.over.set()
        server.shutdown()
        server.server_close()


@installed
def test_it_is_saved(ann2snn, serve):
    server = serve()
    code, out, err = ann2snn("dashboard --entity me --project mine --dataset digits")
    assert (code, err) == (0, "")
    (sent,) = server.saved
    assert (sent["entityName"], sent["projectName"], sent["displayName"]) == ("me", "mine", "ann2snn digits")
    assert [s["name"] for s in json.loads(sent["spec"])["section"]["panelBankConfig"]["sections"]][-1] == "Speed"
    view = sent["name"].removeprefix("nw-").removesuffix("-v")
    assert out == f"http://127.0.0.1:{server.server_port}/me/mine?nw={view}\n"


@installed
def test_a_refusal_is_one_sentence(ann2snn, serve):
    server = serve(errors={"errors": [{"message": "no project mine"}]})
    code, out, err = ann2snn("dashboard --entity me --project mine")
    assert (code, out) == (2, "") and len(server.saved) == 1
    assert err.startswith("ann2snn: W&B did not save the dashboard (") and "no project mine" in err
    assert len(err.splitlines()) == 1


@installed
def test_it_takes_no_longer_than_its_limit(serve, monkeypatch):
    serve(silent=True)
    monkeypatch.setattr(wandb_dashboard, "LIMIT", 1)
    with pytest.raises(UserError, match="did not answer within 1 seconds"):
        wandb_dashboard.save(wandb_dashboard.spec("me", "mine", {}))
