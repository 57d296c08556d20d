"""No checkpoint is taken on a disk that is nearly full: the run ends with a line before files end in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from filterzoo.crawl.discovery import Task
from filterzoo.errors import StorageFailed

LEAST_FREE = 16 << 20
"""Bytes that have to be free before a checkpoint is taken: for the journal, and for fragments of usual size."""


def with_room(tasks: Iterable[Task], folder: Path) -> Iterator[Task]:
    """Pass tasks on while there is room in the work folder; StorageFailed where there is none for the next."""
    for task in tasks:
        free = shutil.disk_usage(folder).free
        if free < LEAST_FREE:
            raise StorageFailed(
                f"{folder}: {free:,} bytes are free, and the next checkpoint wants {LEAST_FREE:,} at least; "
                "free space and run the same command again"
            )
        yield task
