"""A work folder that takes no files can be looked at, a write-ahead log that nobody has merged included."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.crawler.checkpoints import checkpoint, done

from filterzoo.store.workfolder import WorkFolder


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    """Its folder has a log with a record in it, as a crawl that was killed leaves it."""
    writing = WorkFolder(tmp_path / "writing")
    with writing.journal() as journal:
        journal.record_done(done(checkpoint("net")), "s")
        shutil.copytree(writing.path, tmp_path / "killed")
    return WorkFolder(tmp_path / "killed")


def refuse_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite says on a read-only file system: it cannot make the files that go with a log."""
    real = sqlite3.connect

    def connect(database: object, **options: Any) -> sqlite3.Connection:
        if "immutable" not in str(database) and "filterzoo-journal-" not in str(database):
            raise sqlite3.OperationalError("unable to open database file")
        return real(database, **options)  # type: ignore[call-overload]  # the argument is one of several words

    monkeypatch.setattr(sqlite3, "connect", connect)


@pytest.mark.parametrize("log", ["full", "merged"])
def test_a_read_only_folder_is_read_whole(work: WorkFolder, monkeypatch: pytest.MonkeyPatch, log: str) -> None:
    if log == "merged":
        work.journal().close()
        assert not list(work.path.glob("*-wal"))
    else:
        assert (work.path / "journal.sqlite-wal").stat().st_size
    before = {path: path.read_bytes() for path in work.path.iterdir() if path.is_file()}
    refuse_to_write(monkeypatch)
    with work.existing_journal(read_only=True) as journal:
        assert [one.checkpoint.id for one in journal.done()] == ["net"]
    assert {path: path.read_bytes() for path in work.path.iterdir() if path.is_file()} == before


def test_reading_changes_nothing(work: WorkFolder) -> None:
    with work.existing_journal(read_only=True) as journal:
        assert len(list(journal.done())) == 1
        with pytest.raises(Exception, match="readonly"):
            journal.record_done(done(checkpoint("other")), "s")
