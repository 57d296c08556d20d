"""A kill, a full disk or a failing one at every call that changes a file, and the same command again.

After it, each published file, fragment and record is what an undisturbed run leaves, and nothing else is there.
"""

from __future__ import annotations

import pytest
from tests.faults.faulty import Fault
from tests.faults.scenarios import Scenario

every_command = pytest.mark.parametrize("scenario", ["crawl", "publication", "takedown"], indirect=True)
every_fault = pytest.mark.parametrize(
    "fault", [Fault.KILL, Fault.TEAR, Fault.FULL, Fault.FAIL], ids=lambda one: one.name
)


@pytest.mark.slow
@every_command
@every_fault
def test_a_sample_of_calls(scenario: Scenario, fault: Fault) -> None:
    scenario.check(scenario.sample(), [fault])


@pytest.mark.torture
@pytest.mark.timeout(7200)
@every_command
@every_fault
def test_every_call(scenario: Scenario, fault: Fault) -> None:
    scenario.check(scenario.every(), [fault])
