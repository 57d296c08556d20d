"""Files that were published before a column existed are verified, loaded, merged, taken down from and added to."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.publish.folders import RELEASE, licensed, merge, publish_models, rewrite, rows
from tests.publish.work import write_work, zoo

import filterzoo
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.schema import COLUMNS
from filterzoo_publish.shards.cards import card_path
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

LATER = {config: [column.name for column in COLUMNS[config] if column.is_later] for config in ("models", "layers")}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data set whose files lack every later column, but for the cards, which are of the same rows."""
    publish_models(tmp_path / "work", tmp_path / "old", licensed(zoo()))
    for config, names in LATER.items():
        for path in sorted((tmp_path / "old/data" / config).rglob("*.parquet")):
            made = rewrite(path, lambda table, names=names: table.drop_columns(names))  # type: ignore[misc]  # mypy infers no default
            if config == "models":
                own, renamed = (
                    tmp_path / "old" / card_path(one.relative_to(tmp_path / "old").as_posix()) for one in (path, made)
                )
                own.rename(renamed)
    assert not set(LATER["models"]) & set(rows(tmp_path / "old", "models").column_names)
    return tmp_path / "old"


def test_they_are_verified_loaded_and_merged(old: Path, tmp_path: Path) -> None:
    import datasets

    assert verify(str(old)) == []
    assert filterzoo.load(str(old), kernel="3x3").shape[1:] == (3, 3)
    loaded = datasets.load_dataset(str(old), "models", split="train", cache_dir=str(tmp_path / "cache"))
    assert set(loaded["activation"]) == {None}
    merge(tmp_path / "merged", old)
    assert verify(str(tmp_path / "merged")) == []
    assert rows(tmp_path / "merged", "models")["pooling"].null_count == len(zoo())


def test_a_takedown_and_a_release_of_new_models_leave_a_sound_data_set(old: Path, tmp_path: Path) -> None:
    take_down(target_for(str(old)), [(TakedownKind.MODEL, "pypi/a-net@1")], release=RELEASE)
    assert verify(str(old)) == []
    new = [model for model in licensed(zoo()) if model.id == "f-flat"]
    stated = {**new[0].facts, "activation": "relu", "pooling": "stride, max"}
    new = [type(new[0])("g-new", new[0].layers, facts=stated, licence_class=new[0].licence_class)]
    publish(write_work(tmp_path / "new", new), target_for(str(old)), release="v2026.02.01")
    assert verify(str(old)) == []
    paths = sorted((old / "data/models").rglob("*.parquet"))
    found = {row["model_id"]: row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()}
    assert found["pypi/g-new@1"]["pooling"] == "stride, max"


def test_a_column_that_was_always_there_must_not_lack(old: Path) -> None:
    path = next((old / "data/models").rglob("*.parquet"))
    rewrite(path, lambda table: table.drop_columns(["url"]))
    assert any(problem.check == "schema" for problem in verify(str(old)))


def test_a_later_column_of_another_type_is_found(old: Path) -> None:
    path = next((old / "data/models").rglob("*.parquet"))
    rewrite(path, lambda table: table.append_column("activation", pa.array([1] * len(table))))
    assert any(problem.check == "schema" for problem in verify(str(old)))
