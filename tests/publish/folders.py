"""Looks at published folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.publish.work import Model, write_work, zoo

from filterzoo.store import filters as layout
from filterzoo_publish.merge.merging import open_datasets
from filterzoo_publish.release import publish, publish_work, target_for
from filterzoo_publish.report import Report

RELEASE = "v2026.01.02"
LICENCES = {"permissive": "mit", "share-alike": "gpl-3.0-only", "no-redistribution": "cc-by-nd-4.0"}
Edit = Callable[[pa.Table], pa.Table]


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


def licensed(models: list[Model]) -> list[Model]:
    """The models, each with a licence of its class."""
    return [replace(model, facts={**model.facts, "licence": LICENCES[model.licence_class]}) for model in models]


def merge(target: Path, *origins: Path, release=RELEASE) -> Report:
    """Publish several data sets as one."""
    return publish_work(open_datasets([str(one) for one in origins]), target_for(str(target)), release=release)


def file_of(out: Path, config: str, source: str = "pypi", licence_class: str = "permissive") -> Path:
    """One Parquet file of a config."""
    folder = out / "data" / config
    return next((folder if config == "skipped" else folder / source / licence_class).glob("*.parquet"))


def rewrite(path: Path, edit: Edit) -> Path:
    """The edited rows under the name that fits their bytes: only what the rows say can give it away."""
    edited = edit(pq.read_table(path, partitioning=None))
    path.unlink()
    pq.write_table(edited, path)
    name = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    return path.rename(path.with_name(f"{name}.parquet"))


def cards(out: Path) -> dict[str, dict]:
    """model_id -> metadata card."""
    lines = [line for path in (out / "cards").rglob("*.jsonl") for line in path.read_text().splitlines()]
    found = {card["model_id"]: card for card in map(json.loads, lines)}
    assert len(found) == len(lines)
    return found
