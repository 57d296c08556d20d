"""Low disk is told before a checkpoint is taken, not by half a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from filterzoo.crawl.run_limits import LEAST_FREE, with_free_space
from filterzoo.errors import StorageFailed


def test_no_task_is_taken_where_the_disk_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([LEAST_FREE, LEAST_FREE, LEAST_FREE - 1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, next(free)))
    given: list[Any] = ["a", "b", "c", "d"]
    tasks = with_free_space(given, tmp_path)
    assert [next(tasks), next(tasks)] == given[:2]
    with pytest.raises(StorageFailed, match=f"{tmp_path}: 16,777,215 bytes are free, and the next checkpoint wants"):
        next(tasks)
    assert list(with_free_space([], tmp_path)) == []
    assert next(free, None) is None, "one look for each task, none where there is nothing to do"
