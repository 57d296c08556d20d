"""One program under the shim for a test module, and the commands that run in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults import scenarios
from tests.faults.faulty import COMPILER, Faults, Program
from tests.faults.scenarios import Scenario


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    if COMPILER is None or not sys.platform.startswith("linux"):
        pytest.skip("the shim needs Linux and a C compiler")
    own, root = (tmp_path_factory.mktemp(name).resolve() for name in ("own", "root"))
    scenarios.write_zoo(root)
    running = Program(Faults(own, root))
    yield running
    running.end()


@pytest.fixture(scope="module")
def scenario(request: pytest.FixtureRequest, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    make: Callable[[Program, Path], Scenario] = getattr(scenarios, request.param)
    return make(program, tmp_path_factory.mktemp("starts"))
