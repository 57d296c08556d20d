"""Memory and open files stay constant with the number of checkpoints, and the journal grows linearly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks.load import crawl, write_zoo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and open files as Linux counts them")
MB = 1_000_000


@pytest.mark.parametrize(
    "at",
    [
        pytest.param([150, 600], marks=pytest.mark.slow),
        pytest.param([1_000, 10_000, 20_000], marks=[pytest.mark.torture, pytest.mark.timeout(3600)]),
    ],
    ids=["600", "20,000"],
)
def test_checkpoints_in_one_run(tmp_path: Path, at: list[int]) -> None:
    write_zoo(tmp_path, max(at))
    first, *others = crawl(tmp_path, at, workers=2)
    assert len(others) == len(at) - 1
    for later in others:
        assert later.driver_bytes < first.driver_bytes + 20 * MB, (first, later)
        assert later.others_bytes < first.others_bytes + 20 * MB, (first, later)
        assert max(later.driver_files, later.others_files) <= first.driver_files + 10, (first, later)
        assert later.journal_bytes < 5 * MB + 6_000 * later.done, "its write-ahead log, and 6 KB a checkpoint"
