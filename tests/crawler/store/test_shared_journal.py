"""A shared store: a crawl goes on in another work folder, on another machine, from journal and fragments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.crawler.checkpoints import checkpoint, done, entry, layer, measure, weights

from filterzoo.errors import Reason, StartError, StorageFailed
from filterzoo.outcome import Done
from filterzoo.store import shared_journal
from filterzoo.store.doctor import Check, examine
from filterzoo.store.filters import axes_of
from filterzoo.store.journal import Journal
from filterzoo.store.shared_journal import fetch_journal, opened_journal
from filterzoo.store.workfolder import WorkFolder


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], WorkFolder]:
    """A work folder of that name, with the one store."""
    return lambda name: WorkFolder(tmp_path / name, str(tmp_path / "store"))


def store(work: WorkFolder, name: str) -> Done:
    """A checkpoint of that name with one layer, as a worker stores it."""
    with work.store().writer(frozenset({"3x3"}), axes_of(checkpoint(name), "permissive"), {}) as writer:
        writer.add(layer(0, weights(len(name), 4, 2, 3, 3)), measure())
        whole = done(checkpoint(name), layers_fragment="")
        layers, filters = writer.finish(whole, "settings")
    return replace(whole, layers_fragment=layers, filters_fragment=filters)


def crawl(work: WorkFolder, *names: str, dies: bool = False) -> list[str]:
    """Store checkpoints as a crawl does; what the journal knew before. It may die before its last is journaled."""
    with work, opened_journal(work) as (journal, copy_if_due):
        known = [one.checkpoint.id for one in journal.done()]
        for number, name in enumerate(names, 1):
            made = store(work, name)
            if dies and number == len(names):
                raise KeyboardInterrupt
            journal.record_done(made, "settings")
            copy_if_due()
    return known


def test_another_machine_knows_what_is_done(machine: Callable[[str], WorkFolder]) -> None:
    assert crawl(machine("first"), "a", "bb") == []
    assert crawl(machine("second"), "ccc") == ["a", "bb"]
    assert crawl(machine("first")) == ["a", "bb", "ccc"]
    fetch_journal(machine("reader"))
    with machine("reader").existing_journal(read_only=True) as journal:
        assert [one.checkpoint.id for one in journal.done()] == ["a", "bb", "ccc"]


def test_what_a_dead_crawl_did_not_journal_is_put_back_from_fragments(machine: Callable[[str], WorkFolder]) -> None:
    """There is no copy of its journal at all: it was killed before the first."""
    with pytest.raises(KeyboardInterrupt):
        crawl(machine("first"), "a", "bb", dies=True)
    assert crawl(machine("second")) == ["a", "bb"]
    with machine("second").journal() as journal:
        assert journal.is_settled(checkpoint("bb"), "settings")


def test_the_folder_that_was_last_keeps_its_own_journal(machine: Callable[[str], WorkFolder]) -> None:
    """It knows of refusals that came after the last copy."""
    crawl(machine("first"), "a")
    with machine("first").journal() as journal:
        journal.record_ledger(entry(checkpoint("x"), reason=Reason.MALFORMED), "settings")
    crawl(machine("first"), "bb")
    with machine("first").journal() as journal:
        assert [one.id for one in journal.ledger()] == ["x"]
    crawl(machine("second"))
    with machine("second").journal() as journal:
        assert [one.id for one in journal.ledger()] == ["x"]


def test_a_crawl_that_was_overtaken_ends(machine: Callable[[str], WorkFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_journal, "EVERY", 0.0)
    monkeypatch.setattr(shared_journal, "_SHARE", 0)
    first = machine("first")

    def overtaken() -> None:
        with first, opened_journal(first) as (journal, copy_if_due):
            journal.record_done(store(first, "a"), "settings")
            copy_if_due()
            assert crawl(machine("second"), "bb") == ["a"]
            journal.record_done(store(first, "ccc"), "settings")
            copy_if_due()

    with pytest.raises(StorageFailed, match=r"another crawl's now \(\S+ took it over at"):
        overtaken()
    assert crawl(machine("third")) == ["a", "bb", "ccc"]


def test_copies_are_made_only_when_they_are_due(
    machine: Callable[[str], WorkFolder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared_journal, "EVERY", 3600.0)
    work = machine("first")
    with work, opened_journal(work) as (journal, copy_if_due):
        journal.record_done(store(work, "a"), "settings")
        copy_if_due()
        assert not (tmp_path / "store" / "journal.sqlite").exists()
    with Journal(tmp_path / "store" / "journal.sqlite", read_only=True) as copy:
        assert [one.checkpoint.id for one in copy.done()] == ["a"]


def test_a_folder_with_fragments_of_its_own_takes_no_store(
    machine: Callable[[str], WorkFolder], tmp_path: Path
) -> None:
    crawl(WorkFolder(tmp_path / "mine"), "a")
    with pytest.raises(StartError, match=r"its fragments are in .*mine/fragments, not in .*/store; choose another"):
        crawl(machine("mine"), "bb")
    assert crawl(WorkFolder(tmp_path / "mine")) == ["a"]


def test_a_folder_remembers_its_store(machine: Callable[[str], WorkFolder], tmp_path: Path) -> None:
    crawl(machine("first"), "a")
    assert crawl(WorkFolder(tmp_path / "first"), "bb") == ["a"]
    assert not (tmp_path / "first" / "fragments").exists()
    (tmp_path / "first" / "store.json").write_text("[]")
    with pytest.raises(StartError, match=r"store.json: cannot be read; remove it"):
        crawl(WorkFolder(tmp_path / "first"))


def test_an_empty_store_has_nothing_to_read(machine: Callable[[str], WorkFolder]) -> None:
    with pytest.raises(StartError, match="no crawl has been here"):
        fetch_journal(machine("reader"))


def test_an_invalid_crawl_json_is_reported(machine: Callable[[str], WorkFolder], tmp_path: Path) -> None:
    crawl(machine("first"), "a")
    (tmp_path / "store" / "crawl.json").write_text("{}")
    with pytest.raises(StartError, match=r"its crawl.json cannot be read; remove it"):
        crawl(machine("second"))
    (tmp_path / "store" / "crawl.json").unlink()
    assert crawl(machine("first")) == ["a"]


def test_the_doctor_repairs_a_store_and_its_copy(machine: Callable[[str], WorkFolder], tmp_path: Path) -> None:
    crawl(machine("first"), "a", "bb")
    with machine("first").existing_journal() as journal:
        lost = next(journal.done()).layers_fragment
    (tmp_path / "store" / "fragments" / lost[:2] / f"{lost}.arrow").unlink()
    diagnosis = examine(WorkFolder(tmp_path / "first"), repair=True)
    assert Check.FRAGMENT in {finding.check for finding in diagnosis.findings}
    assert crawl(machine("second")) == ["bb"]


def test_the_doctor_leaves_a_store_alone_of_which_it_does_not_know_all(machine: Callable[[str], WorkFolder]) -> None:
    """The fragments of the other crawl would look as if nobody had them."""
    crawl(machine("first"), "a")
    crawl(machine("second"), "bb")
    with pytest.raises(StartError, match=r"a crawl on \S+ has used"):
        examine(machine("first"), repair=True)
    assert examine(machine("second"), repair=True).findings == []
