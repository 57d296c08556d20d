"""One program under the shim for a test module, and the commands that run in it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults import scenarios
from tests.faults.faulty import COMPILER, Faults, Program
from tests.faults.scenarios import Scenario

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a folder of our own in it
"""A file system in memory, which is faster; the shim checks the syncs, so that no real disk is needed."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program_in(tmp_path_factory.mktemp("own").resolve()) as running:
        yield running


@contextmanager
def program_in(own: Path, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """`filterzoo` under the shim, with a small zoo in its root. own: a folder for the shim's files."""
    if COMPILER is None or not sys.platform.startswith("linux"):
        pytest.skip("the shim needs Linux and a C compiler")
    with tempfile.TemporaryDirectory(prefix="filterzoo-faults-", dir=MEMORY) as folder:
        root = Path(folder).resolve()
        scenarios.write_zoo(root)
        running = Program(Faults(own, root), environment)
        try:
            yield running
        finally:
            running.end()


@pytest.fixture(scope="module")
def scenario(request: pytest.FixtureRequest, program: Program) -> Scenario:
    make: Callable[[Program, Path], Scenario] = getattr(scenarios, request.param)
    return make(program, Path(tempfile.mkdtemp(prefix="starts-", dir=program.faults.root)))
