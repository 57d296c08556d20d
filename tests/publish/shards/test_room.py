"""The room for a release is estimated before its first file; what is published as it is takes none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.publish.folders import tree
from tests.publish.work import write_work, zoo

from filterzoo.errors import StorageFailed
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.shards import room as estimated


def test_a_release_for_which_there_is_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(write_work(tmp_path / "first", zoo()[:1]), target_for(str(tmp_path / "out")))
    before = tree(tmp_path / "out")
    work = write_work(tmp_path / "work", zoo())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 100_000))
    told = "out: the release takes 7[0-9]{2},[0-9]{3} bytes at least, and 100,000 are free there; nothing was published"
    with pytest.raises(StorageFailed, match=told):
        publish(work, target_for(str(tmp_path / "out")))
    assert tree(tmp_path / "out") == before
    publish(work, target_for(str(tmp_path / "out")), dry_run=True)


def test_a_fragment_that_is_linked_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = write_work(tmp_path / "work", zoo()[-1:])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 100_000))
    monkeypatch.setattr(estimated, "ALONE_NUMBERS", 100_000)
    publish(work, target_for(str(tmp_path / "out")))


def test_the_estimate_is_below_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing is refused for which there is room: it asks for exactly the bytes that the filters took."""
    work = write_work(tmp_path / "work", zoo())
    publish(work, target_for(str(tmp_path / "out")))
    written = sum(path.stat().st_size for path in (tmp_path / "out" / "data" / "filters").rglob("*.parquet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, written))
    publish(work, target_for(str(tmp_path / "again")))
