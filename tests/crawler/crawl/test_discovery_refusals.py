"""A source may name what it knows of and cannot have; the listing goes on behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from filterzoo import Artifact, Checkpoint, Reason, Source
from filterzoo.crawl.discovery import OpenSource, Settings, Task, discover
from filterzoo.licensing.licences import Policy, Unknown
from filterzoo.outcome import LedgerEntry, Refusal

SETTINGS = Settings(frozenset({"3x3"}), Policy(allow=None, deny=frozenset(), unknown=Unknown.PUBLISH), None, None)
GATED = Refusal(id="a/gated", revision="1" * 40, reason=Reason.GATED, detail="asks for a login", licence="MIT")
LAST = Checkpoint(id="a/open", revision="2" * 40, artifacts=(Artifact(url="https://zoo.example/x"),))


class Zoo(Source):
    name: ClassVar[str] = "zoo"

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        yield from (GATED, GATED, LAST)


def test_a_refusal_goes_to_the_ledger_once_and_the_next_checkpoint_is_listed():
    source = Zoo(Zoo.Options(), door=None, folder=Path())  # type: ignore[arg-type]  # nothing is opened
    entry, task = discover([OpenSource(source, None, SETTINGS)])
    assert isinstance(entry, LedgerEntry)
    assert isinstance(task, Task)
    assert (entry.source, entry.id, entry.revision) == ("zoo", "a/gated", "1" * 40)
    assert (entry.stage, entry.reason, entry.licence, entry.plugin) == ("discover", Reason.GATED, "mit", None)
    assert task.checkpoint.id == "a/open"
