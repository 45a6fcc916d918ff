"""The environment of a test file that is run as a script, and of other child processes."""

import os
from pathlib import Path

TESTS = Path(__file__).parent


def environment(*folders: Path, **variables: str) -> dict[str, str]:
    """This process's environment, with `folders`, the checkout and `tests/` before the rest of PYTHONPATH."""
    paths = [*map(str, folders), str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | variables
