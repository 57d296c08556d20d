"""Loops that are compiled and kept on disk: whatever becomes of the disk, the loop computes what it says."""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numba import types
from numba.core.caching import IndexDataCacheFile

from filterzoo_analysis.filters import compiled_loops

SOURCE = "def doubled(number):\n    return number + number\n"


@pytest.fixture
def loop(tmp_path: Path) -> Callable[[float], float]:
    """A function in a file of its own, beside which Numba keeps what it compiles."""
    file = tmp_path / "kept.py"
    file.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("kept", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.doubled


def compiled(loop: Callable[[float], float]) -> tuple[float, int]:
    """What the loop makes of 2.5, and how many loops came from the disk."""
    made: Any = compiled_loops.compiled(loop, types.float64(types.float64))
    return made(2.5), sum(made.stats.cache_hits.values())


def test_a_loop_is_compiled_once(loop: Callable[[float], float], tmp_path: Path) -> None:
    assert compiled(loop) == (5.0, 0)
    assert compiled(loop) == (5.0, 1)
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name or path.name.endswith(".part")]


@pytest.mark.parametrize("ending", ["nbi", "nbc", "nbc.sha256"])
@pytest.mark.parametrize("becomes", [lambda _: b"", lambda content: content[: len(content) // 2], None])
def test_what_is_damaged_is_compiled_again(loop, ending: str, becomes, tmp_path: Path) -> None:
    """Emptied, cut, or with one bit flipped: never run, and whole again afterwards."""
    compiled(loop)
    (file,) = tmp_path.rglob(f"*.{ending}")
    content = bytearray(file.read_bytes())
    if becomes is None:
        content[len(content) // 2] ^= 1
    file.write_bytes(content if becomes is None else becomes(content))
    value, hits = compiled(loop)
    assert value == 5.0
    assert hits == 0 or ending == "nbi", "a flipped bit may leave the index as it was"
    assert compiled(loop) == (5.0, 1)


def test_a_full_disk_only_costs_the_next_start_its_time(loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(IndexDataCacheFile, "_save_data", full)
        assert compiled(loop) == (5.0, 0)
    assert compiled(loop) == (5.0, 0)
    assert compiled(loop) == (5.0, 1)
