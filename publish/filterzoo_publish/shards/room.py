"""Checks for free disk space before a release is written, by a lower bound of its size."""

from __future__ import annotations

import shutil
from pathlib import Path

from filterzoo.errors import StorageFailed
from filterzoo.store.filters import ALONE_NUMBERS
from filterzoo_publish.plan.entries import PlanEntry
from filterzoo_publish.plan.origins import WorkOrigin
from filterzoo_publish.plan.plan import Plan
from filterzoo_publish.shards.filters import stored_numbers

_SHARE = 0.4
"""Compressed size over the float32 size, for weights that were float16 before; other weights take twice that."""


def check_room(plan: Plan, folder: Path, place: str) -> None:
    """StorageFailed if `folder`, where the files are written, has too little free space. place: the target's name."""
    numbers = sum(stored_numbers(entry) for entry in plan.entries if not _is_linked(entry, folder))
    needed, free = int(4 * _SHARE * numbers), shutil.disk_usage(folder).free
    if needed > free:
        raise StorageFailed(
            f"{place}: the release takes {needed:,} bytes at least, and {free:,} are free there; "
            "nothing was published; free space and run the same command again"
        )


def _is_linked(entry: PlanEntry, folder: Path) -> bool:
    """Whether the entry's file may be a hard link to its fragment, which takes no space."""
    origin = entry.candidate.origin
    if stored_numbers(entry) < ALONE_NUMBERS or not isinstance(origin, WorkOrigin):
        return False
    root = origin.store.root
    return root is not None and root.stat().st_dev == folder.stat().st_dev
