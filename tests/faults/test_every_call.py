"""A kill, a full disk or an I/O error at every call that changes a file, or a kill at a random moment.

Then the same command runs again; every published file, fragment and record must equal that of an undisturbed run, and
nothing else may exist.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.faults import scenarios
from tests.faults.conftest import program_in
from tests.faults.faulty import Fault
from tests.faults.scenarios import KILL_STRIDE, SEED, STRIDE, Scenario

COMMANDS = ["crawl", "crawl_of_downloads", "publication", "takedown", "repair", "export", "small_report"]
MOMENTS = {"crawl": 100, "publication": 200, "takedown": 200, "repair": 250, "export": 250}
"""Command -> how often it is killed at a random moment: a thousand times in all."""


def in_one_process(*names: str) -> Iterable[object]:
    """All tests of a scenario run in one process (`--dist loadgroup`), which remembers the recovered states."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


every_command = pytest.mark.parametrize("scenario", in_one_process(*COMMANDS), indirect=True)
every_command_and_all_figures = pytest.mark.parametrize("scenario", in_one_process(*COMMANDS, "report"), indirect=True)
every_fault = pytest.mark.parametrize(
    "fault", [Fault.KILL, Fault.TEAR, Fault.FULL, Fault.FAIL], ids=lambda fault: fault.name
)


@pytest.mark.slow
@every_command
@every_fault
def test_a_sample_of_calls(scenario: Scenario, fault: Fault) -> None:
    scenario.check(scenario.sample(), [fault])


@pytest.mark.torture
@pytest.mark.timeout(7200)
@every_command_and_all_figures
@every_fault
def test_every_call(scenario: Scenario, fault: Fault) -> None:
    scenario.check(scenario.every(KILL_STRIDE if fault is Fault.KILL else STRIDE), [fault])


def killed_at_moments(scenario: Scenario, times: int) -> int:
    """Kill the command at `times` random moments, each from the initial state. Returns how many came before its end."""
    moments = random.Random(f"{SEED} {scenario.command}")
    errors: list[str | None] = []
    killed = 0
    while killed < times and len(errors) < 3 * times:
        is_killed, error = scenario.error_after(moments.random() * scenario.seconds)
        killed += is_killed
        errors.append(error)
    scenario.report(errors)
    return killed


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", in_one_process(*MOMENTS), indirect=True)
def test_a_thousand_moments(scenario: Scenario, request: pytest.FixtureRequest) -> None:
    times = MOMENTS[request.node.callspec.params["scenario"]]
    assert killed_at_moments(scenario, times) == times


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["publication"], indirect=True)
def test_some_moments(scenario: Scenario) -> None:
    assert killed_at_moments(scenario, 10) == 10


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["export"], indirect=True)
@pytest.mark.parametrize("command", [("verify", "case/out"), ("status", "--workdir", "case/work")], ids=lambda c: c[0])
def test_what_only_reads_changes_no_file(scenario: Scenario, command: tuple[str, ...]) -> None:
    """So there is no call at which a fault could be injected."""
    scenario.begin()
    assert scenario.program.run(*command).code == 0
    assert [str(call) for call in scenario.program.faults.calls()] == []


PLANTED = """
import pathlib, shutil

renamed = pathlib.Path.rename

def rename(self, target):
    if self.suffix != ".part":
        return renamed(self, target)
    shutil.copyfile(self, target)
    self.unlink()

pathlib.Path.rename = rename
"""


@pytest.mark.slow
def test_a_copy_instead_of_a_rename_is_found(tmp_path: Path) -> None:
    """A planted bug: a finished draft is copied to its final name, so that the name is there before the bytes."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "sitecustomize.py").write_text(PLANTED)
    with program_in(tmp_path, {"PYTHONPATH": str(tmp_path / "planted")}) as program:
        (starts := program.faults.root / "starts").mkdir()
        scenario = scenarios.export(program, starts)
        calls = enumerate(program.faults.calls(), 1)
        (copied,) = [number for number, call in calls if call.name == "write" and call.path.endswith("/export.h5")]
        assert "not as undisturbed" in str(scenario.error_at(copied, Fault.TEAR))
        assert scenario.error_at(copied - 2, Fault.KILL) is None
