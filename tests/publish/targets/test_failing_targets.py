"""A target that cannot be written to: one line, and it stays as it was."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.publish.folders import publish_models, tree
from tests.publish.work import write_work, zoo

from filterzoo.dataset.paths import DECIDED
from filterzoo.errors import StartError, StorageFailed
from filterzoo.store import encoding
from filterzoo_publish.plan.releases import next_release, read_releases
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.verify.checks import verify


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("failing")
    publish_models(folder / "first", folder / "out", zoo()[:1])
    write_work(folder / "work", zoo()[:3])
    return folder


def failing(number: int):
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_while_files_are_written(places, monkeypatch, number):
    before = tree(places / "out")
    monkeypatch.setattr(encoding._HashingFile, "write", failing(number))
    with pytest.raises(StorageFailed, match=f"out: {os.strerror(number)}; nothing was published"):
        publish(places / "work", target_for(str(places / "out")))
    with pytest.raises(StorageFailed):
        publish(places / "work", target_for(str(places / "new")))
    assert tree(places / "out") == before
    assert not (places / "new").exists(), "a folder that was made for nothing is gone"


@pytest.mark.parametrize("step", ["mkdir", "fsync"])
def test_a_folder_that_takes_no_files(places, monkeypatch, step):
    before = tree(places / "out")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing(errno.EROFS))
        with pytest.raises(StorageFailed, match="out: cannot be written to: Read-only file system; nothing was publ"):
            publish(places / "work", target_for(str(places / "out")))
    assert tree(places / "out") == before


def test_a_failure_after_the_decision_says_how_to_finish(places, tmp_path, monkeypatch):
    target = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("filterzoo.dataset.confined.remove", failing(errno.EIO))
        publish(places / "first", target_for(str(target), workdir=places / "work"))
        with pytest.raises(
            StorageFailed, match=r"the release is decided; .* and run the same command again to finish it"
        ):
            publish(places / "work", target_for(str(target), workdir=places / "work"))
    assert (target / DECIDED).exists()
    publish(places / "work", target_for(str(target), workdir=places / "work"))
    assert verify(str(target)) == []


@pytest.mark.parametrize("name", ["file", "file/below", "link"])
def test_a_target_that_is_no_folder(places, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises((StartError, StorageFailed), match=r"is not a folder|Not a directory"):
        publish(places / "work", target_for(str(tmp_path / name)))
    assert (tmp_path / "file").read_text() == "mine"


def test_no_release_is_of_a_day_to_come():
    today = datetime.now(UTC).date()
    assert next_release(f"v{today:%Y.%m.%d}", (), ()).day == today.isoformat()
    with pytest.raises(StartError, match="lies in the future"):
        next_release(f"v{today + timedelta(days=3):%Y.%m.%d}", (), ())
    with pytest.raises(StartError, match="lies in the future"):
        next_release("v9999.12.31", (), ())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sample_quota", "-1"),
        ("models", str(1 << 60)),
        ("filters", "9" * 5_000),
        ("day", "never"),
        ("name", "v2026.01.02\n"),
        ("name", "../v2026.01.02"),
    ],
)
def test_a_list_of_releases_that_no_release_writes_is_refused(column, value):
    row = {"name": "v2026.01.02", "day": "2026-01-02"} | dict.fromkeys(
        ("models", "layers", "filters", "removed", "sample_quota"), "1"
    )
    good = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    assert len(read_releases(good)) == 1
    quoted = {**row, column: f'"{value}"'}
    with pytest.raises(StartError, match="is not as a release wrote it"):
        read_releases(",".join(row) + "\n" + ",".join(quoted.values()) + "\n")
