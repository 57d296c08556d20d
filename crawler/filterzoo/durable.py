"""Makes what was written last through a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any


def sync(file: IO[Any]) -> None:
    """What was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Names that were given in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
