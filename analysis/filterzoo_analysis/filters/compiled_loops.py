"""Compiles loops with Numba and keeps the result on disk: what is damaged there is compiled again, never run.

Numba loads whatever it finds: half a file after a power cut would stop every later start, a flipped bit would compute
something else, and a full disk would stop the command. Here each file of machine code has its sha256 beside it, and a
cache that cannot be written is done without.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from filterzoo.durable import whole_file

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop, signature: Any = None, **options: Any) -> Loop:
    """The loop, compiled now for one signature, or for those it is called with; options: of `numba.njit`."""
    made: Any = numba.njit(nogil=True, error_model="numpy", **options)(loop)
    with contextlib.suppress(RuntimeError):  # neither folder can be written
        made._cache = _KeptLoops(loop)  # noqa: SLF001  # as `cache=True` does with Numba's own
    if signature is not None:
        made.compile(signature)
        made.disable_compile()
    return cast("Loop", made)


class _KeptLoops(FunctionCache):
    """Numba's cache of a function, of which no failure reaches the caller."""

    def __init__(self, loop: Callable[..., Any]) -> None:
        super().__init__(loop)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFiles(self.cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled loop; None where there is none, or one that was not written so."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001  # an index that is no pickle raises anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled loop, where there is room."""
        with contextlib.suppress(Exception):  # as above, and whatever a disk says
            super().save_overload(sig, data)


class _CheckedFiles(IndexDataCacheFile):
    """The index of a function and its files of machine code, each with its sha256 in a file beside it."""

    def _load_data(self, name: str) -> Any:
        path = Path(self._data_path(name))
        if _sum_of(path).read_text("ascii") != _digest(path):
            raise OSError(f"{path}: is damaged")  # Numba compiles again, and replaces the file
        return super()._load_data(name)

    def _save_data(self, name: str, data: Any) -> None:
        super()._save_data(name, data)
        path = Path(self._data_path(name))
        with whole_file(_sum_of(path)) as draft:
            draft.write_text(_digest(path), "ascii")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
