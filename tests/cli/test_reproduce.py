"""reproduce.sh with stand-ins for uv and for the command line: nothing is installed here."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from limits import LIMIT

CHECKOUT = Path(__file__).resolve().parents[2]
TOOLS = [
    "bash",
    "env",
    "dirname",
    "readlink",
    "sha256sum",
    "cut",
    "df",
    "awk",
    "ls",
    "grep",
    "mkdir",
    "cat",
    "rm",
    "mv",
    "flock",
    "sleep",
]

PYTHON = f"""#!/bin/bash
if [[ $* == *ensurepip* ]]; then exit 1; fi
exec {sys.executable} "$@"
"""
UV = f"""#!/bin/bash
case $1 in
    python) exit 1 ;;
    venv) {sys.executable} -m venv --without-pip "${{!#}}" ;;
esac
echo "$@" >>"$UV_LOG"
if [[ $* == *requirements.lock* && ${{UV_WAITS_FOR-}} ]]; then
    while [[ ! -e $UV_WAITS_FOR ]]; do sleep 0.02; done
fi
"""
CLI = """
import os, sys
print(os.getcwd(), *sys.argv[1:])
sys.exit(8 if sys.dont_write_bytecode else 7)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with the script, the lock and a command line that prints its arguments; PATH has what it needs."""
    root, bin = tmp_path / "checkout", tmp_path / "bin"
    (root / "ann2snn").mkdir(parents=True)
    bin.mkdir()
    for name in ("reproduce.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, root)
    (root / "ann2snn" / "__init__.py").touch()
    (root / "ann2snn" / "__main__.py").write_text(CLI)
    for tool in TOOLS:
        (bin / tool).symlink_to(shutil.which(tool))
    executable(bin / "uv", UV)
    executable(bin / "python3", PYTHON)
    monkeypatch.setenv("PATH", str(bin))
    monkeypatch.setenv("UV_LOG", str(tmp_path / "uv.log"))
    monkeypatch.delenv("ANN2SNN_DATA", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return root


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


def start(checkout, *arguments, cwd=None):
    command = [checkout / "reproduce.sh", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd or checkout, start_new_session=True, **pipes)


def run(checkout, *arguments, cwd=None):
    process = start(checkout, *arguments, cwd=cwd)
    output, error = process.communicate(timeout=LIMIT)
    return process.returncode, output, error


def installs(checkout):
    log = checkout.parent / "uv.log"
    return log.read_text().count("--require-hashes -r requirements.lock") if log.exists() else 0


def wait_for_install(checkout, process):
    while not installs(checkout):
        assert process.poll() is None
        time.sleep(0.02)


@pytest.fixture
def go_on(tmp_path, monkeypatch):
    """The file without which no install goes on."""
    monkeypatch.setenv("UV_WAITS_FOR", str(tmp_path / "go on"))
    return tmp_path / "go on"


def test_scripts_are_executable_and_parse():
    for script in (CHECKOUT / "reproduce.sh", CHECKOUT / ".ci" / "run", CHECKOUT / ".ci" / "check"):
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", script], check=True)


def test_the_lock_is_hashed_and_names_no_index():
    text = (CHECKOUT / "requirements.lock").read_text()
    assert "://" not in text
    pins = re.findall(r"^([a-z0-9-]+)==.*\\\n(?=    --hash=sha256:[0-9a-f]{64})", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[^\s#]", text, re.MULTILINE))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = project["project"]["dependencies"] + groups["dev"] + groups["docs"]
    assert {re.match("[a-z0-9-]+", line).group() for line in wanted} <= set(pins)


def test_every_package_is_in_the_distribution():
    setuptools = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(CHECKOUT) for path in (CHECKOUT / "ann2snn").rglob("__init__.py")}
    names = {".".join(folder.parts) for folder in folders} | {
        "ann2snn.baselines",
        "ann2snn.benchmarks",
        "ann2snn.benchmarks.profiles",
        "ann2snn.benchmarks.speed",
        "ann2snn.benchmarks.studies",
    }
    assert set(setuptools["packages"]) == names


def test_needs_are_those_of_the_project():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    packages = {re.match("[a-z0-9-]+", line).group().replace("-", "_") for line in project["dependencies"]} - {
        "wandb",
        "wandb_workspaces",
    }
    needs = re.search('^needs="(.*)"', (CHECKOUT / "reproduce.sh").read_text(), re.MULTILINE).group(1).split()
    assert {{"sklearn": "scikit_learn"}.get(name, name) for name in needs} == packages


def test_first_run_installs_second_run_reuses(checkout):
    code, output, error = run(checkout, "--profile", "a b")
    assert (code, output) == (7, f"{checkout} reproduce --profile a b\n")
    assert "6 GB" in error and "is ready" in error
    assert (checkout.parent / "uv.log").read_text().splitlines()[-1].endswith("--no-deps --no-build-isolation -e .")
    assert run(checkout) == (7, f"{checkout} reproduce\n", "")
    assert installs(checkout) == 1


@pytest.mark.parametrize("change", ["lock", "moved", "unfinished", "broken"])
def test_what_no_longer_fits_is_made_anew(checkout, change):
    run(checkout)
    if change == "lock":
        with open(checkout / "requirements.lock", "a") as file:
            file.write("# changed\n")
    elif change == "moved":
        checkout = checkout.rename(checkout.with_name("elsewhere"))
    elif change == "unfinished":
        (checkout / ".venv" / "reproduce.stamp").write_text("unfinished\n")
    else:
        (checkout / ".venv" / "bin" / "python").unlink()
    assert run(checkout)[0] == 7
    assert installs(checkout) == 2


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_an_install_killed_half_way_is_not_taken_for_a_finished_one(checkout, go_on, kill):
    """Where the script alone is killed, its uv lives on: the next run waits for it before it starts afresh."""
    process = start(checkout)
    wait_for_install(checkout, process)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    if kill is os.killpg:
        with open(checkout / ".venv.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the last process of the group has ended
    again = start(checkout)
    first = again.stderr.readline()
    go_on.touch()
    again.communicate(timeout=LIMIT)
    assert again.returncode == 7 and installs(checkout) == 2
    assert ("waiting for another install" in first) == (kill is os.kill)


def test_interrupt_says_how_to_resume(checkout, go_on):
    process = start(checkout)
    wait_for_install(checkout, process)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert error.endswith("reproduce.sh: interrupted; run it again to resume\n")


def test_an_interrupt_while_the_users_python_is_checked(checkout, tmp_path):
    """Ctrl-C reaches that Python too, which says so in a traceback of its own."""
    interrupted = "#!/bin/bash\nkill -INT 0\necho Traceback >&2\nexit 1\n"
    executable(tmp_path / "mine", interrupted)
    process = start(checkout, "--python", str(tmp_path / "mine"))
    _, error = process.communicate(timeout=LIMIT)
    assert (process.returncode, error) == (130, "reproduce.sh: interrupted; run it again to resume\n")


def test_two_at_once_install_once(checkout, go_on):
    first = start(checkout)
    wait_for_install(checkout, first)
    second = start(checkout)
    assert "waiting for another install" in second.stderr.readline()
    go_on.touch()
    for process in (first, second):
        process.communicate(timeout=LIMIT)
    assert (first.returncode, second.returncode, installs(checkout)) == (7, 7, 1)


def test_an_environment_of_the_users_own_is_left_alone(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()
    code, _, error = run(checkout)
    assert code == 2 and "was not created by this script" in error
    assert (checkout / ".venv" / "mine").exists() and installs(checkout) == 0


def test_no_suitable_python(checkout):
    executable(checkout.parent / "bin" / "python3", "#!/bin/bash\nexit 1\n")
    code, _, error = run(checkout)
    assert code == 2 and error.startswith("reproduce.sh: Python 3.11 or 3.12 ") and error.count("\n") == 1


def test_too_little_disk(checkout):
    (checkout.parent / "bin" / "df").unlink()
    executable(checkout.parent / "bin" / "df", "#!/bin/bash\nprintf 'head\\ndisk 9000000 1 5000000 1 /\\n'\n")
    code, _, error = run(checkout)
    assert code == 2 and "8 GB" in error and "5 GB free" in error
    assert installs(checkout) == 0


def test_paths_are_the_callers_and_the_job_runs_in_the_checkout(checkout, tmp_path, monkeypatch):
    (tmp_path / "caller").mkdir()
    (tmp_path / "link.sh").symlink_to(checkout / "reproduce.sh")
    run(checkout)
    arguments = ["--data-root", "pictures", "--runs=mine", "--profile", "digits"]
    code, output, _ = run(checkout, *arguments, cwd=tmp_path / "caller")
    caller = tmp_path / "caller"
    assert (
        output.split()[1:] == f"reproduce --data-root {caller}/pictures --runs={caller}/mine --profile digits".split()
    )
    done = subprocess.run([tmp_path / "link.sh", "x"], cwd=caller, capture_output=True, text=True)
    assert done.stdout == f"{checkout} reproduce x\n"


def test_help_installs_nothing(checkout):
    for name in ("__init__", "__main__", "errors", "interrupts"):
        shutil.copy(CHECKOUT / "ann2snn" / f"{name}.py", checkout / "ann2snn")
    shutil.copytree(CHECKOUT / "ann2snn" / "cli", checkout / "ann2snn" / "cli")
    code, output, error = run(checkout, "--help")
    assert (code, error) == (0, "")
    assert "./reproduce.sh test" in output and "--profile" in output
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--python"], "--python needs the path of an interpreter or of an environment."),
        (["--python", "nowhere"], "--python nowhere: not a Python interpreter"),
        (["--python=../environment"], "environment/bin/python lacks numpy, torch, torchvision, "),
        (
            ["test", "--python", "../environment"],
            ", pytest, pytest_benchmark, xdist, hypothesis, importlinter: install them there",
        ),
    ],
)
def test_an_environment_that_cannot_be_used(checkout, arguments, sentence):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.parent / "environment"], check=True)
    code, _, error = run(checkout, *arguments)
    assert code == 2 and sentence in error and error.count("\n") == 1
    assert not (checkout / ".venv").exists()


def test_an_environment_of_the_users_own_runs_the_tests(checkout):
    """Exit codes pass through: 0, and 4 for a file that is not there."""
    assert run(checkout, "test", "--python", sys.executable, "--version")[0] == 0
    assert run(checkout, "test", "--python", sys.executable, "nothing.py")[0] == 4
    assert not (checkout / ".venv").exists()
