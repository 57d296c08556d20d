"""Compiles loops with Numba and caches the machine code on disk. A damaged file is compiled again, never run.

Numba's own cache does not verify its files: a truncated file after a power cut would break every later start, a flipped
bit would compute something else, and a full disk would stop the command. Here a second file holds the sha256 of each
file of machine code, and errors of the cache are ignored.
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
    """The loop, compiled now for `signature`, or on its first call if None. options: those of `numba.njit`."""
    made: Any = numba.njit(nogil=True, error_model="numpy", **options)(loop)
    with contextlib.suppress(RuntimeError):  # no folder for the cache can be written
        made._cache = _CheckedCache(loop)  # noqa: SLF001  # as `cache=True` does with Numba's cache
    if signature is not None:
        made.compile(signature)
        made.disable_compile()
    return cast("Loop", made)


class _CheckedCache(FunctionCache):
    """Numba's cache of a function. No failure reaches the caller."""

    def __init__(self, loop: Callable[..., Any]) -> None:
        super().__init__(loop)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFiles(self.cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled loop; None if there is none or its file is damaged."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001  # a damaged pickle may raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save a compiled loop, if possible."""
        with contextlib.suppress(Exception):  # see above, and errors of the disk
            super().save_overload(sig, data)


class _CheckedFiles(IndexDataCacheFile):
    """The index of a function and its files of machine code, each with a second file for its sha256."""

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
