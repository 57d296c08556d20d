"""The result of a check: a rule of the contract, whether it holds, and its faults in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

NAME = re.compile(r"[a-z0-9_]+")
"""Names of sources and formats, which are used in columns, file names and manifests."""
SHOWN = 3
"""Most faults of one rule that are listed."""


class Verdict(StrEnum):
    """Whether a rule holds."""

    HOLDS = "ok"
    BROKEN = "wrong"
    OPEN = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, checked on one subject (`source my_zoo`); `rule` is a sentence that should be true."""

    subject: str
    rule: str
    verdict: Verdict
    detail: str = ""


def finding(subject: str, rule: str, faults: Sequence[str]) -> Finding:
    """The rule holds if there are no faults; otherwise the first few are shown."""
    if not faults:
        return Finding(subject, rule, Verdict.HOLDS)
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return Finding(subject, rule, Verdict.BROKEN, "; ".join(faults[:SHOWN]) + more)


def unchecked(subject: str, rule: str, why: str) -> Finding:
    """The rule could not be checked."""
    return Finding(subject, rule, Verdict.OPEN, why)


def name_faults(name: object) -> list[str]:
    """What is wrong with the name of a source or format."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return []
    return [f"{name!r} is not made of lower-case letters, digits and _ alone"]
