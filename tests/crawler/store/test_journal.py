"""The journal: what is settled, what is tried again, and that it outlives its writer."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.crawler.checkpoints import checkpoint, done, entry

from filterzoo.errors import Reason, StartError
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Artifact
from filterzoo.reporting.summary import summarise
from filterzoo.store.journal import Journal
from filterzoo.store.workfolder import WorkFolder

HOSTILE = ["a\0b", "\u202eevil", "x" * 100_000, "'; DROP TABLE done; --", "../../etc", "C:\\x", "\x1b[2J", "🙂", " "]


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_records_come_back_equal(text, journal):
    of = checkpoint(
        text, revision=text, url=text, licence=text, artifacts=(Artifact(url=text, name=text, member=text),)
    )
    made = done(of, section=text, filters_by_kernel={"3x3": 1 << 40})
    journal.record_done(made, "s")
    assert list(journal.done()) == [made]
    assert journal.is_settled(of, "s")
    refused = entry(of, detail=text, where=text, plugin=text)
    journal.record_ledger(refused, "s")
    assert list(journal.ledger()) == [refused]
    assert list(journal.done()) == []


def test_the_last_day_of_a_listing_is_kept(journal):
    old, both = checkpoint("old"), checkpoint("both\0")
    journal.record_listed([old, both], "2026-01-01")
    journal.record_listed([both], "2026-02-01")
    journal.record_ledger(entry(both, reason=Reason.REMOVED))
    keys = {(one.source, one.id, one.revision): day for one, day in ((old, "2026-01-01"), (both, "2026-02-01"))}
    assert dict(journal.listed()) == keys


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_storable_id_comes_back(tmp_path_factory, ident, revision):
    with Journal(tmp_path_factory.mktemp("journal") / "j.sqlite") as journal:
        made = done(checkpoint(ident, revision=revision))
        journal.record_done(made, "s")
        assert list(journal.done()) == [made]
        assert journal.is_settled(made.checkpoint, "s")


@pytest.mark.parametrize("reason", Reason)
def test_what_is_settled(reason, journal):
    journal.record_ledger(entry(reason=reason), "settings")
    assert journal.is_settled(checkpoint(), "settings") is not reason.is_transient
    assert not journal.is_settled(checkpoint(), "other settings")
    assert not journal.is_settled(checkpoint(revision="2"), "settings")
    assert not journal.is_settled(replace(checkpoint(), source="other"), "settings")


def test_the_last_word_holds(journal):
    journal.record_ledger(entry(reason=Reason.FETCH_FAILED), "s")
    journal.record_done(done(), "s")
    assert list(journal.ledger()) == []
    journal.record_done(done(n_layers=7), "t")
    assert [made.n_layers for made in journal.done()] == [7]
    assert not journal.is_settled(checkpoint(), "s")
    journal.record_ledger(entry(), "s")
    journal.record_ledger(entry(reason=Reason.UNSAFE), "s")
    assert [each.reason for each in journal.ledger()] == [Reason.UNSAFE]
    assert list(journal.done()) == []


def test_failures_of_whole_plugins_are_asked_again(journal):
    whole = entry(id=None, revision=None, reason=Reason.PLUGIN_ERROR)
    journal.record_ledger(whole)
    journal.record_ledger(whole)
    journal.record_ledger(entry())
    assert [each.id for each in journal.ledger()] == [None, None, "a/b"]
    journal.forget_plugin_failures()
    assert [each.id for each in journal.ledger()] == ["a/b"]


def test_order_is_that_of_names_whatever_came_first(journal):
    names = ["b", "a", "B", "é", "a/1"]
    for name in names:
        journal.record_done(done(checkpoint(name)), "s")
        journal.record_ledger(entry(checkpoint(f"x{name}")), "s")
    assert [made.checkpoint.id for made in journal.done()] == sorted(names)
    assert [each.id for each in journal.ledger()] == sorted(f"x{name}" for name in names)


def test_a_failed_write_changes_nothing(journal):
    journal.record_done(done(), "s")
    with pytest.raises(TypeError):
        journal.record_done(done(n_layers={1}), "s")
    assert list(journal.done()) == [done()]
    journal.record_done(done(n_layers=5), "s")


def test_every_record_is_on_the_disk_when_it_is_reported(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom tests.crawler.checkpoints import checkpoint, done\n"
        "from filterzoo.store.journal import Journal\njournal = Journal(Path(sys.argv[1]))\n"
        "for n in range(30): journal.record_done(done(checkpoint(str(n))), 's')\nos.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "journal.sqlite"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False).returncode == -9
    with Journal(path) as journal:
        assert len(list(journal.done())) == 30


def test_durability_is_asked_for(journal):
    assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_reader_sees_the_journal_while_it_is_written(tmp_path, journal):
    journal.record_done(done(), "s")
    with Journal(tmp_path / "journal.sqlite") as reader:
        assert list(reader.done()) == [done()]
        journal.record_ledger(entry(checkpoint("other")), "s")
        assert [each.id for each in reader.ledger()] == ["other"]


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_journal_is_one_line(content, tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(StartError, match=r"journal\.sqlite"):
        Journal(path)


def test_counts_agree(journal):
    journal.record_done(done(checkpoint("1")), "s")
    journal.record_done(done(checkpoint("2"), n_layers=3, filters_by_kernel={"3x3": 1}), "s")
    journal.record_ledger(entry(checkpoint("3"), Reason.LICENCE), "s")
    journal.record_ledger(entry(checkpoint("4"), Reason.DAMAGED), "s")
    journal.record_ledger(entry(checkpoint("5", source="other"), Reason.DAMAGED), "s")
    summary = summarise(journal)
    assert summary.document() == {
        "checkpoints": {"done": 2, "skipped": 1, "failed": 2},
        "filters": {"1x1": 2, "3x3": 9},
        "reasons": {"damaged": 2, "licence": 1},
        "sources": {
            "other": {"done": 0, "skipped": 0, "failed": 1, "filters": 0},
            "zoo": {"done": 2, "skipped": 1, "failed": 1, "filters": 11},
        },
        "not_listed": {},
        "tried_again": {"total": 0, "sources": {}, "not_before": {}},
    }
    assert (summary.layers, summary.failed) == (4, 2)


def test_what_is_tried_again_is_counted_with_its_time(journal):
    late = "2026-12-01T18:00:00Z"
    journal.record_ledger(entry(checkpoint("1"), Reason.FETCH_FAILED, not_before=late), "s")
    journal.record_ledger(entry(checkpoint("2"), Reason.CRASHED), "s")
    journal.record_ledger(entry(checkpoint("3", source="other"), Reason.FETCH_FAILED), "s")
    journal.record_ledger(entry(checkpoint("4"), Reason.DAMAGED), "s")
    journal.record_done(done(checkpoint("5")), "s")
    again = summarise(journal).document()["tried_again"]
    assert again == {"total": 3, "sources": {"other": 1, "zoo": 2}, "not_before": {late: 1}}


def test_a_source_that_is_down_keeps_when_it_last_was_listed(journal):
    journal.record_sources({"zoo": True, "other": False}, "2026-12-01T00:00:00Z")
    journal.record_sources({"zoo": False}, "2026-12-08T00:00:00Z")
    assert journal.sources() == {"other": (False, None), "zoo": (False, "2026-12-01T00:00:00Z")}
    assert summarise(journal).document()["not_listed"] == {"other": None, "zoo": "2026-12-01T00:00:00Z"}
    journal._database.execute("UPDATE sources SET listed = x'00ff' WHERE source = 'zoo'")
    assert journal.sources()["zoo"] == (False, None)  # nobody's word
    journal.record_sources({"zoo": True}, "2026-12-15T00:00:00Z")
    assert journal.sources()["zoo"] == (True, "2026-12-15T00:00:00Z")
    assert summarise(journal).listed == {"zoo": "2026-12-15T00:00:00Z"}


def test_the_ledger_lists_failed_plugins_before_the_checkpoints_of_their_source(journal):
    for name in ("b", "a", "c"):
        for source in ("zoo", "other"):
            journal.record_ledger(entry(checkpoint(name, source=source), Reason.FETCH_FAILED), "s")
    journal.record_ledger(entry(id=None, revision=None, reason=Reason.PLUGIN_ERROR))
    listed = [(one.source, one.id) for one in journal.ledger()]
    assert listed == [
        ("other", "a"), ("other", "b"), ("other", "c"), ("zoo", None), ("zoo", "a"), ("zoo", "b"), ("zoo", "c"),
    ]  # fmt: skip
    assert [(one.source, one.id) for one in journal.ledger(4)] == listed[:4]
    assert sorted((one.source, one.id or "") for one in journal.tried_again()) == sorted(
        (source, name or "") for source, name in listed
    )


def test_counting_a_ledger_reads_no_documents(journal):
    journal.record_ledger(entry(checkpoint("1"), Reason.LICENCE), "s")
    queries: list[str] = []
    journal._database.set_trace_callback(queries.append)
    list(journal.refusals()), list(journal.tried_again()), list(journal.ledger(20))
    journal._database.set_trace_callback(None)
    plans = [str(journal._database.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()) for query in queries]
    assert len(plans) == 6
    assert all(re.search(r"USING (COVERING )?INDEX ledger_", plan) for plan in plans), plans
    assert not any("TEMP B-TREE FOR ORDER BY" in plan for plan in plans), plans


def test_a_whole_source_that_failed_counts_as_failed_whatever_the_reason(journal):
    journal.record_ledger(entry(id=None, revision=None, reason=Reason.REMOVED))
    assert summarise(journal).document()["checkpoints"] == {"done": 0, "skipped": 0, "failed": 1}


@pytest.mark.parametrize("change", ["nothing", "without a field", "on two lines", "not in ASCII"])
def test_an_entry_is_one_line_of_ascii_with_all_fields(change, journal):
    refused = entry(detail="\u202eevil\ud800")
    journal.record_ledger(refused)
    fields = asdict(refused)
    if change == "without a field":
        del fields["not_before"]  # version 1 did not have it
    document = json.dumps(fields, indent=1 if change == "on two lines" else None)
    if change == "not in ASCII":
        document = document.replace("\\u202e", "\u202e")
    journal._database.execute("UPDATE ledger SET document = ?", (document,))
    (line,) = journal.ledger_as_json(1)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == asdict(refused)


def test_a_journal_from_before_sources_were_noted_is_read_and_migrated(tmp_path):
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        journal.record_done(done(), "s")
        journal._database.execute("DROP TABLE sources")
        journal._database.execute("PRAGMA user_version = 3")
    with Journal(path, read_only=True) as journal:
        assert journal.sources() == {}
    with Journal(path) as journal:
        journal.record_sources({"zoo": True}, "2026-12-15T00:00:00Z")
        assert len(list(journal.done())) == 1


def test_done_and_ledger_keep_their_types(journal):
    journal.record_done(done(), "s")
    journal.record_ledger(entry(checkpoint("other")), "s")
    (made,), (refused,) = journal.done(), journal.ledger()
    assert isinstance(made, Done)
    assert isinstance(made.checkpoint.artifacts[0], Artifact)
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.DAMAGED


def test_a_work_folder_is_for_one_crawl_and_clears_what_was_half_written(tmp_path):
    work = WorkFolder(tmp_path / "work")
    work.scratch.mkdir(parents=True)
    (work.scratch / "half").write_text("half")
    with work:
        assert not work.scratch.exists()
        with pytest.raises(StartError, match="another crawl"):
            WorkFolder(tmp_path / "work").__enter__()
        with work.journal() as journal:
            journal.record_done(done(), "s")
    with WorkFolder(tmp_path / "work") as again, again.existing_journal() as journal:
        assert list(journal.done()) == [done()]


def test_work_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="is a file, not a work folder"):
        WorkFolder(tmp_path / "file").__enter__()
    with pytest.raises(StartError, match="no crawl has been here"):
        WorkFolder(tmp_path / "nowhere").existing_journal()


def test_the_database_is_closed(tmp_path):
    with Journal(tmp_path / "j.sqlite") as journal:
        pass
    with pytest.raises(sqlite3.ProgrammingError):
        list(journal.done())


def test_what_is_recorded_together_is_there_as_a_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"

    def stored() -> list[str]:
        with Journal(path, read_only=True) as reader:
            return [one.checkpoint.id for one in reader.done()]

    with Journal(path) as journal:
        with journal.together():
            journal.record_done(done(checkpoint("a")), "")
            journal.record_done(done(checkpoint("b")), "")
            assert stored() == []
        assert stored() == ["a", "b"]
        with pytest.raises(KeyError), journal.together():  # noqa: PT012  # the second does not come to its end
            journal.record_done(done(checkpoint("c")), "")
            raise KeyError
        assert stored() == ["a", "b"]
