"""--max-bytes and --max-hours: a run that ends within them, and says what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.crawler.checkpoints import checkpoint, done
from tests.program import filterzoo

from filterzoo.crawl.run_limits import Left, RunLimits
from filterzoo.crawl.task import Task
from filterzoo.records import Artifact
from filterzoo.store.workfolder import WorkFolder


def task(name: str, *sizes: int | None) -> Task:
    artifacts = tuple(Artifact(url=f"https://zoo/{name}", size=size) for size in sizes)
    return Task(checkpoint(name, artifacts=artifacts), 0, None)


def names(tasks) -> list[str]:
    return [one.checkpoint.id for one in tasks]


def test_what_does_not_fit_is_left_and_smaller_ones_are_taken() -> None:
    limits = RunLimits(max_bytes=100)
    tasks = [task("a", 60), task("too large", 30, 11), task("b", 40), task("full", 1), task("unknown", None)]
    assert names(limits.within(tasks)) == ["a", "b"]
    assert limits.left == Left(checkpoints=3, bytes=42, unknown_sizes=1)


def test_an_unknown_size_counts_when_it_is_known() -> None:
    limits = RunLimits(max_bytes=100)
    given = limits.within([task("unknown", 5, None), task("a", 20), task("b", 10)])
    first = next(given)
    limits.spent(first, done(first.checkpoint, size=85))
    assert names(given) == ["b"]
    assert limits.left == Left(checkpoints=1, bytes=20)


def test_nothing_is_started_or_listed_after_the_time() -> None:
    now = 0.0
    limits = RunLimits(max_hours=0.5, clock=lambda: now)
    listed = []
    given = limits.within(listed.append(name) or task(name, 7) for name in "abcd")  # type: ignore[func-returns-value]  # run for its effect
    assert names([next(given)]) == ["a"]
    now = 1801.0
    assert names(given) == []
    assert listed == ["a", "b"]
    assert limits.left == Left(checkpoints=1, bytes=7, is_counted=False)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    for name, width in (("a", 2), ("b", 300), ("c", 2)):
        save_file({"w.weight": np.full((width, 4, 3, 3), 0.5, "<f4")}, tmp_path / f"{name}.safetensors")
    (tmp_path / "m.yaml").write_text("name: m\nsources: [{source: local, paths: ['*.safetensors'], license: mit}]\n")
    return tmp_path


@pytest.mark.slow
def test_a_crawl_within_its_limits_ends_well(zoo: Path) -> None:
    size = (zoo / "b.safetensors").stat().st_size
    ran = filterzoo("crawl", "m.yaml", "--max-bytes", "4KB", "--workers", 1, cwd=zoo)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, f"left for the next run: 1 checkpoint, {size:,} bytes")
    ran = filterzoo("crawl", "m.yaml", "--max-hours", 0, "--workers", 1, "--json", cwd=zoo)
    assert ran.code == 0
    assert ran.document["left"] == {"checkpoints": 1, "bytes": size, "unknown_sizes": 0, "counted": False}
    ran = filterzoo("crawl", "m.yaml", "--max-bytes", "1GB", "--max-hours", 1, "--workers", 1, "--json", cwd=zoo)
    assert ran.document["checkpoints"]["done"] == 3
    assert "left" not in ran.document


def test_no_bytes_at_all_only_lists(zoo: Path) -> None:
    ran = filterzoo("crawl", "m.yaml", "--max-bytes", 0, "--workers", 1, "--json", cwd=zoo)
    assert ran.code == 0
    assert ran.document["left"]["checkpoints"] == 3
    with WorkFolder(zoo / "filterzoo-work").existing_journal() as journal:
        assert len(list(journal.listed())) == 3
        assert not list(journal.done())


def test_an_invalid_size_is_reported(zoo: Path) -> None:
    ran = filterzoo("crawl", "m.yaml", "--max-bytes", "much", cwd=zoo)
    assert ran.code == 2
    assert "--max-bytes: 'much' is not allowed; write bytes, such as 8GB" in ran.err
