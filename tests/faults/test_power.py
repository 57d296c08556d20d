"""A power cut: the calls of a command are recorded and replayed without what was not synced.

`test_disk.py` tests the model itself.
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
    """The calls of the command, and the state it ends with."""
    scenario.begin()
    ran = scenario.program.run(*scenario.command, with_data=True)
    assert ran.code == 0, ran.err
    return list(scenario.program.faults.calls()), state(scenario.case)


def cut_after(scenario: Scenario, calls: Sequence[Call], cut: Cut) -> None:
    disk = Disk(scenario.start, scenario.case)
    disk.replay(calls)
    disk.write(scenario.case, cut)


def trouble(scenario: Scenario, calls: Sequence[Call], cut: Cut) -> str | None:
    """What is not as undisturbed when the command runs again after a power cut behind these calls."""
    cut_after(scenario, calls, cut)
    met = f"{cut.name} after {len(calls)} calls ({calls[-1] if calls else 'none'})"
    return scenario.trouble_from_here(met)


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
    """As if the program had a fault: without the syncs of a file or of a folder, its end does not outlive a cut."""
    calls, done = recorded(scenario)
    kept = list(filter(without_syncs_of(ending), calls))
    assert len(kept) < len(calls)
    cut_after(scenario, kept, Cut.LOST)
    assert state(scenario.case) != done


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["publication"], indirect=True)
def test_a_decision_before_its_note_is_on_the_disk_is_found(scenario: Scenario) -> None:
    """As if the note that lets a publisher finish its release were not synced before the rename that decides."""
    calls, _ = recorded(scenario)
    (rename,) = (place for place, call in enumerate(calls) if call.other.endswith("/.decided"))
    decided = calls[: rename + 2]
    assert decided[-1].name == "fsync"
    assert trouble(scenario, decided, Cut.LOST) is None
    without = [call for call in decided if call.name != "fsync" or "/work/releases" not in call.path]
    assert "not begun with this work folder" in trouble(scenario, without, Cut.LOST)


def check(scenario: Scenario, ends: Iterable[int], cut: Cut) -> None:
    """The same command recovers from a cut behind any of these calls."""
    calls, _ = recorded(scenario)
    scenario.told([trouble(scenario, calls[:end], cut) for end in ends])


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
