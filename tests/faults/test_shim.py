"""The shim counts the right calls and injects its faults: without that the other tests of this folder prove nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.faulty import COMPILER, Fault, Faults

pytestmark = pytest.mark.skipif(
    COMPILER is None or not sys.platform.startswith("linux"), reason="the shim needs Linux and a C compiler"
)

STEPS = """
import os
with open("a", "wb") as file:
    file.write(b"0123456789")
    file.flush()
    os.fsync(file.fileno())
os.rename("a", "b")
os.write(1, b"not counted")
os.unlink("b")
"""
CALLS = ["open a", "write a", "fsync a", "rename a b", "unlink b"]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    for name in ("own", "root"):
        (tmp_path / name).mkdir()
    return Faults(tmp_path / "own", tmp_path / "root")


def run(faults: Faults, at: int = 0, fault: Fault = Fault.NONE) -> subprocess.CompletedProcess[bytes]:
    faults.arm(at, fault, with_data=True)
    environment = {**os.environ, **faults.environment}
    return subprocess.run(
        [sys.executable, "-S", "-c", STEPS], cwd=faults.root, env=environment, capture_output=True, check=False
    )


def test_each_call_is_counted_and_can_die_tear_or_fail(faults: Faults) -> None:
    assert run(faults).stdout == b"not counted"
    assert [str(call).replace(f"{faults.root}/", "") for call in faults.calls()] == CALLS
    assert [call.data for call in faults.calls() if call.name == "write"] == [b"0123456789"]
    for number, call in enumerate(CALLS, 1):
        assert run(faults, number, Fault.KILL).returncode == -9
        assert (faults.count, faults.met()) == (number, f"died {call}")
        (faults.root / "b").unlink(missing_ok=True)
    assert run(faults, 2, Fault.TEAR).returncode == -9
    assert (faults.root / "a").read_bytes() == b"01234"
    assert b"Input/output error" in run(faults, 3, Fault.FAIL).stderr
    assert b"No space left" in run(faults, 1, Fault.FULL).stderr
