#!/usr/bin/env bash
# Creates .venv from requirements.lock if needed, then runs `ann2snn reproduce` in it, or the tests.
set -euo pipefail
trap 'printf "reproduce.sh: interrupted; run it again to resume\n" >&2; exit 130' INT   # until Python takes over

here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
caller=$PWD
environment=$here/.venv
stamp_file=$environment/reproduce.stamp   # "unfinished" until an install has completed
needs="numpy torch torchvision pytorch_lightning timm sklearn matplotlib tabulate tqdm"   # wandb may be absent
test_needs="pytest pytest_benchmark xdist hypothesis importlinter"

usage() {
    cat <<'TEXT'
./reproduce.sh [--python PATH] [options of the run]   train, convert, simulate, and build the leaderboard in runs/
./reproduce.sh test [--python PATH] [pytest options]  run the tests; without options all of them, in two processes

Both create the environment .venv from requirements.lock on first use (Python 3.11 or 3.12, about 6 GB).
  --python PATH   use this interpreter or environment folder as it is, and install nothing
TEXT
}

say() { printf '%s\n' "reproduce.sh: $*" >&2; }
fail() { say "$*"; exit 2; }

absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$caller/$1" ;; esac; }

# The interpreter of a command name, an interpreter path or an environment folder.
interpreter() {
    local path
    path=$(absolute "$1")
    if [[ -d $path ]]; then path=$path/bin/python; fi
    if [[ ! -e $path && $1 != */* ]]; then path=$(command -v -- "$1" || true); fi
    if [[ ! -x $path ]]; then fail "--python $1: not a Python interpreter: name one, or the folder of an environment."; fi
    printf '%s' "$path"
}

find_python() {
    local candidate required="import sys, venv"
    if ! command -v uv >/dev/null; then required+=", ensurepip"; fi
    for candidate in python3.12 python3.11 python3 python "$(uv python find '>=3.11,<3.13' 2>/dev/null || true)"; do
        if "$candidate" -c "$required; sys.exit(not (3, 11) <= sys.version_info < (3, 13))" >/dev/null 2>&1; then
            command -v -- "$candidate"
            return
        fi
    done
    fail "Python 3.11 or 3.12 with its venv module is needed and was not found: install it (on Debian or Ubuntu: python3 and python3-venv), or name an environment with --python PATH."
}

# What the installed environment must match: the lock, the folder (the project is installed in place) and Python itself.
stamp() { printf '%s %s %s\n' "$(sha256sum <"$here/requirements.lock" | cut -c1-64)" "$here" "$("$environment/bin/python" -V 2>&1)"; }
ready() { [[ -x $environment/bin/python && -f $stamp_file && $(<"$stamp_file") == "$(stamp)" ]]; }

uv_command() {
    if command -v uv; then return; fi
    awk '/^uv==/ {inside = 1} inside {print} inside && !/\\$/ {exit}' requirements.lock >"$environment/uv.lock"
    if "$environment/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$environment/uv.lock" >&2; then
        printf '%s\n' "$environment/bin/uv"
    fi
}

install() {
    local python uv quiet began=$SECONDS free_gb
    if [[ -d $environment && ! -f $stamp_file && -n $(ls -A "$environment") ]]; then
        fail "$environment was not created by this script: use it with --python .venv, or move it away."
    fi
    python=$(find_python)
    rm -rf "$environment"   # the rest of an interrupted install cannot be trusted
    free_gb=$(($(df -Pk "$here" | awk 'NR == 2 {print $4}') / 1000000))
    if ((free_gb < 8)); then fail "the environment needs 8 GB of disk and $here has $free_gb GB free; make room, or name an environment with --python PATH."; fi

    say "creating $environment with $("$python" -V): about $(grep -c '^[a-z].*==' requirements.lock) packages, 6 GB, 1-3 minutes"
    mkdir "$environment"
    echo unfinished >"$stamp_file"
    if "$python" -c "import ensurepip" 2>/dev/null; then
        "$python" -m venv "$environment"
    else
        uv venv --quiet --allow-existing --python "$python" "$environment"
    fi
    uv=$(uv_command)
    quiet=()
    if [[ ! -t 2 ]]; then quiet=(--quiet); fi   # on a terminal uv draws progress bars
    if [[ -n $uv ]] && "$uv" pip install "${quiet[@]}" --python "$environment/bin/python" --require-hashes -r requirements.lock; then
        "$uv" pip install --python "$environment/bin/python" --quiet --no-deps --no-build-isolation -e .
    else
        say "continuing without uv; pip takes about 3 minutes"
        "$environment/bin/python" -m pip install --require-hashes -r requirements.lock ||
            fail "the packages could not be installed, for the reason above; fix it and run this again, or name an environment with --python PATH."
        "$environment/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e .
    fi
    stamp >"$stamp_file.new"
    mv "$stamp_file.new" "$stamp_file"
    say "the environment is ready after $((SECONDS - began)) s"
}

# One install at a time. The lock is held as long as any process of the install runs, even after this script is killed.
ensure_environment() {
    if ready; then return; fi
    exec 9>"$here/.venv.lock"
    if command -v flock >/dev/null && ! flock --nonblock 9; then
        say "waiting for another install of $environment"
        flock 9
    fi
    if ! ready; then install; fi
    exec 9>&-
}

check_own() {   # interpreter, module names
    local missing
    missing=$("$1" -c 'import sys, importlib.util as u
if sys.version_info < (3, 11): sys.exit(1)
print(*(name for name in sys.argv[1:] if u.find_spec(name) is None))' "${@:2}" 2>/dev/null) || fail "--python $1: Python 3.11 or later is needed."
    if [[ -n $missing ]]; then fail "--python $1 lacks ${missing// /, }: install them there, or leave out --python to create .venv."; fi
}

python=
own=
help=
arguments=()
while (($#)); do
    case $1 in
        --python) if (($# < 2)); then fail "--python needs the path of an interpreter or of an environment."; fi
            python=$(interpreter "$2"); own=yes; shift ;;
        --python=*) python=$(interpreter "${1#*=}"); own=yes ;;
        --data-root | --runs) arguments+=("$1"); if (($# > 1)); then shift; arguments+=("$(absolute "$1")"); fi ;;
        --data-root=* | --runs=*) arguments+=("${1%%=*}=$(absolute "${1#*=}")") ;;
        -h | --help) help=yes ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
if [[ ${ANN2SNN_DATA-} ]]; then ANN2SNN_DATA=$(absolute "$ANN2SNN_DATA"); export ANN2SNN_DATA; fi
cd -- "$here"
if [[ ${arguments[0]-} == test ]]; then
    command=(pytest "${arguments[@]:1}")
    if ((${#arguments[@]} == 1)); then   # all tests: in two processes, of a thread each
        export OMP_NUM_THREADS=${OMP_NUM_THREADS-1}
        command+=(-n 2 --dist loadscope)
    fi
else
    command=(ann2snn reproduce "${arguments[@]}")
fi

if [[ $help ]]; then
    usage
    if [[ ! $python ]]; then
        if ready; then python=$environment/bin/python; else python=$(find_python 2>/dev/null) || exit 0; fi
    fi
    printf '\n'
    exec "$python" -m ann2snn reproduce --help
fi
if [[ $own ]]; then
    if [[ ${command[0]} == pytest ]]; then needs+=" $test_needs"; fi
    # shellcheck disable=SC2086
    check_own "$python" $needs
else
    unset PYTHONPATH PYTHONHOME
    unset PYTHONDONTWRITEBYTECODE   # without compiled files each import of PyTorch takes twice as long
    ensure_environment
    python=$environment/bin/python
fi
exec "$python" -m "${command[@]}"
