"""Which cases of a parametrised test run in the slow tier."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest
from _pytest.mark import ParameterSet


def fast_only(kept: Collection[object], values: Iterable[object]) -> list[ParameterSet]:
    """Every value as a case; those that are not kept have the marker `slow`."""
    return [pytest.param(value, marks=[pytest.mark.slow] * (value not in kept)) for value in values]
