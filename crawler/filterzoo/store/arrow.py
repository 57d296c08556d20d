"""Arrow in processes of our own, without what they do not use of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


def leave_pandas_out() -> None:
    """Let pyarrow take pandas as not installed, in a process that is ours alone and gives it no data frame.

    pyarrow looks for pandas once, when the first array is made, and loads it if it is there, which takes half a second.
    What needs pandas (`to_pandas`) still loads it.
    """
    import pyarrow as pa  # noqa: PLC0415  # for those who call this

    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])  # a type that is to be inferred: both places that look for pandas do so
    finally:
        sys.meta_path.remove(finder)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /) -> None:
        """ModuleNotFoundError for pandas; other modules are found elsewhere."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("left out", name=fullname)
