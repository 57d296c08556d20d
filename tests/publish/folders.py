"""Looks at published folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.publish.work import Model, write_work, zoo

from filterzoo.store import filters as layout
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.report import Report

RELEASE = "v2026.01.02"


def publish_models(folder: Path, target: Path, models: list[Model], *arguments, release=RELEASE, **options) -> Report:
    """Crawl (as `write_work` does) into a new work folder and publish it."""
    return publish(write_work(folder, models, *arguments, **options), target_for(str(target)), release=release)


def publish_in_small_row_groups(folder: Path) -> Path:
    """The zoo of `work`, published below a folder so that its layers span several row groups; gives the data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP_NUMBERS", 9 * 33_000)
        publish_models(folder / "work", folder / "out", zoo())
    return folder / "out"


def tree(folder: Path) -> dict[str, str]:
    """Path -> sha256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(folder: Path, config: str) -> pa.Table:
    """All rows of a config, sorted files joined."""
    paths = sorted((folder / "data" / config).rglob("*.parquet"))
    return pa.concat_tables(pq.read_table(path, partitioning=None) for path in paths)
