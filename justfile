# Daily commands; `just` lists them. Each works without just too: it is the line below its name.

_list:
    @just --list

# make .venv from requirements.lock, if it is not there, and show the options of a run
setup:
    ./reproduce.sh --dry-run

# all tests in two processes, or `just test tests/graph/test_graph.py -k clip`
test *OPTIONS:
    ./reproduce.sh test {{OPTIONS}}

# the tests that take less than 10 s each
quick:
    ./reproduce.sh test -n 2 --dist loadscope -m "not slow"

# lint, format, spelling, import contracts, types, documentation
check:
    .ci/check

# repair what ruff can repair
format:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# the documentation on this machine
docs:
    .venv/bin/mkdocs serve

# tables, figures and pages from the committed records; `just results --check` only compares
results *OPTIONS:
    .venv/bin/ann2snn leaderboard --readme README.md {{OPTIONS}}

# the lock, after a change of the dependencies in pyproject.toml
lock:
    .venv/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --group dev --group docs --python-version 3.11 pyproject.toml -o requirements.lock

# everything that CI runs
ci:
    .ci/run
