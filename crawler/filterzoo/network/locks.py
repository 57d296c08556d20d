"""File locks between threads and processes. The library is imported on first use, because few crawls need it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock


def file_lock(path: Path) -> FileLock:
    """A lock that is released when its process ends; use it as a context manager."""
    from filelock import FileLock  # noqa: PLC0415  # see above

    return FileLock(path, thread_local=False)
