"""A source may name what it knows of and cannot have; the listing goes on behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from filterzoo import Artifact, Checkpoint, Reason, Refused, Source, StartError
from filterzoo.crawl.discovery import OpenSource, discover
from filterzoo.crawl.task import Settings, Task
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
    source = Zoo(Zoo.Options(), door=None, folder=Path())  # type: ignore[arg-type, misc]  # nothing is opened
    entry, task = discover([OpenSource(source, None, SETTINGS)])
    assert isinstance(entry, LedgerEntry)
    assert isinstance(task, Task)
    assert (entry.source, entry.id, entry.revision) == ("zoo", "a/gated", "1" * 40)
    assert (entry.stage, entry.reason, entry.licence, entry.plugin) == ("discover", Reason.GATED, "mit", None)
    assert task.checkpoint.id == "a/open"


def opened(zoo: type[Source]) -> OpenSource:
    return OpenSource(zoo(zoo.Options(), door=None, folder=Path()), None, SETTINGS)  # type: ignore[arg-type]  # nothing is opened


class Ends:
    """How each source ended."""

    def __init__(self) -> None:
        self.listed: list[tuple[str, bool]] = []

    def ended(self, source: str, *, is_listed: bool) -> None:
        self.listed.append((source, is_listed))


def failing(error: BaseException) -> type[Source]:
    class Failing(Zoo):
        name: ClassVar[str] = "failing"

        def discover(self) -> Iterator[Checkpoint | Refusal]:
            yield LAST
            raise error

    return Failing


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused(Reason.GATED, "the server asks for a login (401)"), Reason.GATED),
        (Refused(Reason.REMOVED, "not found (404)"), Reason.REMOVED),
        (Refused(Reason.FETCH_FAILED, "the connection failed"), Reason.FETCH_FAILED),
        (KeyError("x"), Reason.PLUGIN_ERROR),
        (StartError("no file matches"), Reason.PLUGIN_ERROR),
    ],
)
def test_a_zoo_that_cannot_be_listed_is_a_failure_whatever_the_reason_and_the_next_goes_on(error, reason):
    ends = Ends()
    task, entry, *others = discover([opened(failing(error)), opened(Zoo)], watch=ends)
    assert isinstance(task, Task)
    assert isinstance(entry, LedgerEntry)
    assert (entry.id, entry.reason, entry.is_failure) == (None, reason, True)
    assert isinstance(others[-1], Task)
    assert isinstance(others[0], LedgerEntry)
    assert others[-1].checkpoint.id == "a/open"
    assert not others[0].is_failure
    assert ends.listed == [("failing", False), ("zoo", True)]


def test_a_source_that_cannot_start_stops_a_crawl_of_nothing_else():
    error = StartError("no file matches")
    for sources, only in (([opened(failing(error))], None), ([opened(failing(error)), opened(Zoo)], "failing")):
        with pytest.raises(StartError, match="no file matches"):
            list(discover(sources, only))


def test_why_a_source_cannot_start_is_the_networks_reason():
    error = StartError("cannot read the package index")
    error.__cause__ = Refused(Reason.FETCH_FAILED, "503", not_before="2026-12-01T18:00:00Z")
    for others in ([opened(Zoo)], []):
        _, entry, *_ = discover([opened(failing(error)), *others])
        assert isinstance(entry, LedgerEntry)
        assert (entry.reason, entry.not_before) == (Reason.FETCH_FAILED, "2026-12-01T18:00:00Z")
        assert entry.detail == "it cannot start: cannot read the package index"


def test_an_error_of_a_plugin_is_reported_with_file_and_line():
    _, entry, *_ = discover([opened(failing(KeyError("x"))), opened(Zoo)])
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.strip() == "raise error")
    assert isinstance(entry, LedgerEntry)
    assert entry.where == f"{Path(__file__).name}, line {line}"


def test_an_unknown_word_affects_only_its_checkpoint_and_is_named():
    class Wordy(Zoo):
        def discover(self) -> Iterator[Checkpoint | Refusal]:
            for task in ("face-detecton", "face-detection"):
                yield Checkpoint(id=task, revision="1", artifacts=LAST.artifacts, task=task, modality=None)

    entry, task = discover([opened(Wordy)])
    assert isinstance(entry, LedgerEntry)
    assert isinstance(task, Task)
    assert (entry.id, entry.reason, entry.plugin) == ("face-detecton", Reason.PLUGIN_ERROR, "zoo")
    assert entry.detail.startswith(
        "task: 'face-detecton' is none of its words (did you mean 'face-detection'?); allowed:"
    )
    assert task.checkpoint.id == "face-detection"
