"""Readers of a folder see one release, whatever is published meanwhile."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.publish.work import ledger, write_work, zoo

from filterzoo import load
from filterzoo.dataset import confined
from filterzoo.dataset.published import open_published
from filterzoo.errors import StartError
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.verify.checks import verify

pytestmark = pytest.mark.skipif(os.name != "posix", reason="flock")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    publish(write_work(tmp_path / "first", zoo()[:2], ledger()), target_for(str(tmp_path / "out")))
    return tmp_path / "out"


def publish_more(out: Path) -> None:
    publish(write_work(out.parent / "second", zoo()[:4]), target_for(str(out)))


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in (out / "data").rglob("*.parquet"))


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """As a publisher holds it."""
    folder = os.open(out, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


def test_readers_wait_while_files_are_moved(out: Path) -> None:
    with locked(out):
        (out / ".decided").mkdir()
        ends = threading.Timer(0.2, (out / ".decided").rmdir)
        ends.start()
        begin = time.monotonic()
        assert len(load(out)) > 0
        assert time.monotonic() > begin + 0.15
        ends.join()


def test_a_release_whose_publisher_was_killed_is_not_read(out: Path) -> None:
    (out / ".decided").mkdir()
    with pytest.raises(StartError, match="a release is in it whose files were not all moved"):
        load(out)


def test_a_publisher_that_does_not_go_on_is_not_waited_for(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterzoo.dataset.published._MOVING", 0.1)
    (out / ".decided").mkdir()
    with locked(out), pytest.raises(StartError, match="not all moved"):
        load(out)


def test_what_was_opened_stays_the_release_that_it_was(out: Path) -> None:
    opened, before = open_published(out), files(out)
    publish_more(out)
    assert opened.paths() == before
    assert open_published(out).paths() == files(out) != before


def test_a_release_during_the_listing_is_seen_whole(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = confined.entries
    before = files(out)

    def entries(*arguments: Any) -> Iterator[Any]:
        listing = real(*arguments)
        yield next(listing)
        monkeypatch.undo()
        publish_more(out)
        yield from listing

    monkeypatch.setattr(confined, "entries", entries)
    assert open_published(out).paths() == files(out) != before


def test_verify_during_a_release_finds_no_problem(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`skipped` and the documents are replaced between the listing and their turn."""
    from filterzoo_publish.verify import checks  # the module, to change it

    real = checks._check_readme

    def meanwhile(examination: Any) -> None:
        monkeypatch.undo()
        publish_more(out)
        real(examination)

    monkeypatch.setattr(checks, "_check_readme", meanwhile)
    assert verify(str(out)) == []
