"""Configures Arrow in FilterZoo's own processes: without pandas, and with malloc's retained memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


def leave_pandas_out() -> None:
    """Make pyarrow treat pandas as not installed, in a process of our own that passes it no data frames.

    pyarrow looks for pandas once, when the first array is created, and imports it if it is installed, which takes half
    a second. Functions that need pandas (`to_pandas`) still import it.
    """
    import pyarrow as pa  # noqa: PLC0415  # for those who call this

    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])  # the type is inferred, so that both code paths look for pandas
    finally:
        sys.meta_path.remove(finder)


def take_memory_of_malloc() -> None:
    """Make Arrow allocate with malloc, in a process that keeps freed memory (`keep_freed_memory`).

    Arrow's own allocator returns memory to the kernel, which clears each page before reuse: a tenth of the CPU time of
    a crawl.
    """
    import pyarrow as pa  # noqa: PLC0415  # for those who call this

    pa.set_memory_pool(pa.system_memory_pool())


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /) -> None:
        """ModuleNotFoundError for pandas; other modules are found elsewhere."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("left out", name=fullname)
