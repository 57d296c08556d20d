"""Settings that every test process needs before a library is imported.

For huggingface_hub and datasets: no Xet, no account and a temporary cache. BLAS has one thread, since there are as many
test processes as cores: more threads would spin while they wait for each other, which makes the tests far slower.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: how long an example takes depends on the machine.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

HOME = tempfile.mkdtemp(prefix="filterzoo-hf-home-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"):
    os.environ.pop(name, None)
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ |= {"HF_HOME": HOME, "HF_HUB_DISABLE_XET": "1"}


def pytest_configure() -> None:
    """Stop if the entry points in `pyproject.toml` differ from the installed ones, which the program reads."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for group, points in project["entry-points"].items():
        if {
            point.name: point.value for point in metadata.distribution("filterzoo").entry_points.select(group=group)
        } != points:
            pytest.exit(
                f"entry points of {group!r} in pyproject.toml changed: install again: pip install --no-deps -e .", 2
            )


COSTS = Path(__file__).with_name("costs.txt")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Cache the bytecode of tests for the next run, and exempt loaded objects from garbage collection."""
    keeps_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        sys.dont_write_bytecode = keeps_nothing


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow files first, so that no process is left with one at the end (needs `--no-loadscope-reorder`)."""
    lines = (line.split() for line in COSTS.read_text().splitlines() if not line.startswith("#"))
    costs = {file: float(seconds) for seconds, file in lines}
    items.sort(key=lambda item: -costs.get(item.nodeid.split("::")[0], 0))
