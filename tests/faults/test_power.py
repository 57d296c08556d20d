"""A power cut: the calls of a command are recorded and replayed without what was not synced.

`test_disk.py` tests the model of the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from tests.faults.faulty import Call
from tests.faults.power import Cut, Disk
from tests.faults.scenarios import STRIDE, Scenario, state

COMMANDS = ["crawl", "publication", "takedown"]
every_command = pytest.mark.parametrize(
    "scenario",
    [pytest.param(name, marks=pytest.mark.xdist_group(f"power of a {name}")) for name in COMMANDS],
    indirect=True,
)
every_cut = pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name)


def recorded(scenario: Scenario) -> tuple[list[Call], dict[str, Any]]:
    """The calls of the command, and its final state."""
    scenario.begin()
    ran = scenario.program.run(*scenario.command, with_data=True)
    assert ran.code == 0, ran.err
    return list(scenario.program.faults.calls()), state(scenario.case)


def cut_after(scenario: Scenario, calls: Sequence[Call], cut: Cut) -> None:
    disk = Disk(scenario.start, scenario.case)
    disk.replay(calls)
    disk.write(scenario.case, cut)


def error(scenario: Scenario, calls: Sequence[Call], cut: Cut) -> str | None:
    """Run the command again after a power cut that follows these calls; how its result is wrong, or None."""
    cut_after(scenario, calls, cut)
    met = f"{cut.name} after {len(calls)} calls ({calls[-1] if calls else 'none'})"
    return scenario.rerun_error(met)


@pytest.mark.slow
@every_command
@every_cut
def test_what_a_command_did_outlives_a_power_cut_after_its_end(scenario: Scenario, cut: Cut) -> None:
    calls, done = recorded(scenario)
    cut_after(scenario, calls, cut)
    assert state(scenario.case) == done


def without_syncs_of(ending: str) -> Callable[[Call], bool]:
    return lambda call: not (call.name == "fsync" and call.path.endswith(ending))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["publication"], indirect=True)
@pytest.mark.parametrize("ending", ["/README.md", "/out"])
def test_a_sync_that_is_left_out_is_found(scenario: Scenario, ending: str) -> None:
    """A planted bug: without the fsync of a file or of a folder, the result does not survive a cut."""
    calls, done = recorded(scenario)
    kept = list(filter(without_syncs_of(ending), calls))
    assert len(kept) < len(calls)
    cut_after(scenario, kept, Cut.LOST)
    assert state(scenario.case) != done


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["publication"], indirect=True)
def test_a_decision_before_its_note_is_on_the_disk_is_found(scenario: Scenario) -> None:
    """A planted bug: the note that lets a publisher finish its release is not synced before the deciding rename."""
    calls, _ = recorded(scenario)
    (rename,) = (place for place, call in enumerate(calls) if call.other.endswith("/.decided"))
    decided = calls[: rename + 2]
    assert decided[-1].name == "fsync"
    assert error(scenario, decided, Cut.LOST) is None
    without = [call for call in decided if call.name != "fsync" or "/work/releases" not in call.path]
    assert "not begun with this work folder" in error(scenario, without, Cut.LOST)


def check(scenario: Scenario, ends: Iterable[int], cut: Cut) -> None:
    """Assert that the command recovers from a cut after each of these calls."""
    calls, _ = recorded(scenario)
    scenario.report([error(scenario, calls[:end], cut) for end in ends])


@pytest.mark.slow
@every_command
@every_cut
def test_a_sample_of_prefixes_recovers(scenario: Scenario, cut: Cut) -> None:
    check(scenario, scenario.sample(), cut)


@pytest.mark.torture
@pytest.mark.timeout(7200)
@every_command
@every_cut
def test_every_prefix_recovers(scenario: Scenario, cut: Cut) -> None:
    check(scenario, scenario.every(STRIDE), cut)
