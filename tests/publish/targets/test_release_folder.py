"""Releases into a folder: what they hold, that they grow without rewriting, and what they refuse."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.publish.folders import publish_models, rows, tree
from tests.publish.work import Model, ledger, network, weights, write_work, zoo

from filterzoo.errors import StartError
from filterzoo.layers.normalise import layer_id
from filterzoo.store import filters as layout
from filterzoo_publish.plan.state import POINTER_COLUMNS
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.shards import filters
from filterzoo_publish.verify.checks import verify


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    publish_models(folder / "work", folder / "out", zoo(), ledger())
    return folder / "out"


def test_the_published_zoo_is_sound(published):
    assert verify(str(published)) == []


def test_every_layer_arrives_with_its_weights(published):
    stored: dict[str, Any] = {}
    for row in rows(published, "filters").to_pylist():
        stored.setdefault(row["layer_id"], []).append((row["first_filter"], row["weights"]))
    layers = rows(published, "layers").to_pylist()
    for model in zoo():
        own = sorted((row for row in layers if row["model_id"] == model.model_id), key=lambda row: row["layer_index"])
        assert [row["name"] for row in own] == list(model.layers)
        for row, array in zip(own, model.layers.values(), strict=True):
            assert row["layer_id"] == layer_id(array)
            if array.shape[2:] == (3, 3) and model.publish_weights:
                blocks = [block for _, block in sorted(stored[row["layer_id"]])]
                assert np.concatenate(blocks).astype(np.float32).tobytes() == array.tobytes()
                assert row["filters_rows"] == len(blocks)
            else:
                assert row["filters_file"] is None


def test_equal_layers_are_stored_once_and_twins_are_named(published):
    ids = rows(published, "filters")["layer_id"].to_pylist()
    wide = layer_id(zoo()[-1].layers["wide"])
    assert [one for one in set(ids) if ids.count(one) > 1] == [wide], "only the layer of two blocks has two rows"
    owner = {row["layer_id"]: row["model_id"] for row in rows(published, "filters").to_pylist()}
    assert owner[layer_id(zoo()[0].layers["body"])] == "pypi/a-net@1"
    twins = {row["model_id"]: row["duplicate_of"] for row in rows(published, "models").to_pylist()}
    assert {name for name, twin in twins.items() if twin} == {"pypi/c-copy@1"}
    assert twins["pypi/c-copy@1"] == "pypi/a-net@1"


def test_licence_classes_decide_the_folder_and_hidden_weights_are_nowhere(published):
    assert {path.relative_to(published).parts[3] for path in (published / "data/layers").rglob("*.parquet")} == {
        "permissive",
        "share-alike",
        "no-redistribution",
    }
    assert not list((published / "data/filters/pypi").glob("no-redistribution/*"))
    hidden = {layer_id(array) for array in zoo()[4].layers.values()}
    assert not hidden & set(rows(published, "filters")["layer_id"].to_pylist())
    assert not hidden & set(rows(published, "filters_sample")["layer_id"].to_pylist())


def test_pointers_lead_to_the_rows(published):
    for row in rows(published, "layers").to_pylist():
        if row["filters_file"] is None:
            continue
        file = pq.ParquetFile(published / row["filters_file"])
        ids = file.read(columns=["layer_id"])["layer_id"].to_pylist()
        assert ids[row["filters_first_row"] :][: row["filters_rows"]] == [row["layer_id"]] * row["filters_rows"]
        group = file.read_row_group(row["filters_row_group"], columns=["layer_id"])["layer_id"].to_pylist()
        assert row["layer_id"] in group
        file.close()


def test_the_ledger_is_there_to_the_number(published):
    skipped = rows(published, "skipped").to_pylist()
    assert [(row["source"], row["id"], row["reason"]) for row in skipped] == [
        ("bad-plugin.py", None, "plugin_error"),
        ("pypi", "broken", "malformed"),
    ]


def test_weights_are_split_by_byte_and_not_in_a_dictionary(published):
    path = next((published / "data/filters/local").rglob("*.parquet"))
    metadata = pq.read_metadata(path).row_group(0)
    column = next(
        metadata.column(n) for n in range(metadata.num_columns) if "weights" in metadata.column(n).path_in_schema
    )
    assert "BYTE_STREAM_SPLIT" in column.encodings
    assert not column.has_dictionary_page
    assert column.compression == "ZSTD"
    assert column.has_column_index
    assert path.stat().st_size / 51_200 < 31.5


def test_the_order_of_the_crawl_changes_no_byte(tmp_path):
    models = zoo()
    publish_models(tmp_path / "forth", tmp_path / "a", models, ledger())
    publish_models(tmp_path / "back", tmp_path / "b", models[::-1], ledger()[::-1])
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_publishing_twice_changes_nothing(tmp_path):
    work = write_work(tmp_path / "work", zoo(), ledger())
    assert not publish(work, target_for(str(tmp_path / "out"))).is_empty
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    report = publish(work, target_for(str(tmp_path / "out")))
    assert report.is_empty
    assert not report.files
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_release_adds_files_and_rewrites_none(tmp_path):
    models = zoo()
    publish_models(tmp_path / "first", tmp_path / "out", models[:3], ledger())
    before = tree(tmp_path / "out")
    report = publish_models(tmp_path / "second", tmp_path / "out", models)
    after = tree(tmp_path / "out")
    changed = {path for path, digest in before.items() if after.get(path) != digest}
    tables = {path for path in changed if path.startswith("data/")}
    assert tables == {path for path in before if path.startswith(("data/skipped/", "data/status/", "data/lineage/"))}
    assert report.models == {"pypi": 3, "local": 1}
    assert verify(str(tmp_path / "out")) == []
    shared = layer_id(models[0].layers["body"])
    assert rows(tmp_path / "out", "filters")["layer_id"].to_pylist().count(shared) == 1
    everything = tmp_path / "everything"
    publish_models(tmp_path / "at-once", everything, models)
    for config in ("models", "layers", "filters_sample"):
        assert without_places(rows(tmp_path / "out", config)) == without_places(rows(everything, config))


def without_places(table: pa.Table) -> list[dict[str, Any]]:
    """The rows in an order that files do not decide, without the pointers into files."""
    names = [name for name in table.schema.names if name not in {*POINTER_COLUMNS, "release"}]
    return sorted(table.select(names).to_pylist(), key=str)


def test_entries_of_other_work_folders_stay_in_skipped(tmp_path):
    publish_models(tmp_path / "first", tmp_path / "out", zoo()[:1], ledger())
    publish_models(tmp_path / "other", tmp_path / "out", [Model("x", network(1), source="onnx_zoo")])
    assert len(rows(tmp_path / "out", "skipped")) == 2
    publish_models(tmp_path / "again", tmp_path / "out", zoo()[:1])
    assert rows(tmp_path / "out", "skipped")["source"].to_pylist() == ["bad-plugin.py"]


def test_large_checkpoints_have_row_groups_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "ROW_GROUP_NUMBERS", 9 * 40_000)
    monkeypatch.setattr(filters, "FILE_NUMBERS", 9 * 90_000)
    models = [
        Model("a", {"w": weights(1, 100, 10, 3, 3)}),
        Model("b", {"w": weights(2, 100, 10, 3, 3)}),
        Model("c", {"v": weights(3, 200, 150, 3, 3), "w": weights(4, 100, 150, 3, 3)}),
        Model("d", {"w": weights(5, 100, 10, 3, 3)}),
        Model("e", {"w": weights(6, 300, 300, 3, 3)}),
    ]
    publish_models(tmp_path / "work", tmp_path / "out", models)
    assert verify(str(tmp_path / "out")) == []
    groups = []
    for path in (tmp_path / "out/data/filters").rglob("*.parquet"):
        with pq.ParquetFile(path) as file:
            tables = [file.read_row_group(number) for number in range(file.num_row_groups)]
        groups.append([(sorted(set(t["model_id"].to_pylist())), sum(t["n_filters"].to_pylist())) for t in tables])
    a, b, c, d, e = (model.model_id for model in models)
    assert sorted(groups) == [
        [([a, b], 2_000), ([c], 30_000), ([c], 15_000), ([d], 1_000)],
        [([e], 32_768), ([e], 32_768), ([e], 24_464)],
    ]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the paths of open files are not to be had here")
def test_the_syncs_of_folders_do_not_grow_with_the_files_of_a_release(tmp_path, monkeypatch):
    """One for each file would take most of the time of a large release."""
    synced: list[Path] = []
    sync = os.fsync

    def note(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            synced.append(Path(f"/proc/self/fd/{file}").readlink())
        sync(file)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(filters, "FILE_NUMBERS", 9 * 1_000)
    counts = []
    for out, names in ((tmp_path.resolve() / "two", "ab"), (tmp_path.resolve() / "seven", "abcdefg")):
        models = [Model(name, {"w": weights(seed, 100, 10, 3, 3)}) for seed, name in enumerate(names)]
        synced.clear()
        publish_models(tmp_path / f"work of {out.name}", out, models)
        assert len(list((out / "data/filters").rglob("*.parquet"))) == len(models)
        assert {path for path in out.rglob("*") if path.is_dir()} <= {*synced}
        counts.append(sum(out in {path, *path.parents} for path in synced))
    assert counts[0] == counts[1]


def test_configs_without_rows_have_an_empty_file(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", [], ledger())
    assert verify(str(tmp_path / "out")) == []
    assert {config: len(rows(tmp_path / "out", config)) for config in ("models", "layers", "filters")} == {
        "models": 0,
        "layers": 0,
        "filters": 0,
    }
    publish_models(tmp_path / "later", tmp_path / "out", zoo()[:1])
    assert verify(str(tmp_path / "out")) == []


def test_a_dry_run_writes_nothing(tmp_path):
    work = write_work(tmp_path / "work", zoo(), ledger())
    report = publish(work, target_for(str(tmp_path / "out")), dry_run=True)
    assert (report.models, report.layers, report.skipped) == ({"pypi": 6, "local": 1}, 19, 2)
    assert report.filters == sum(rows_of(zoo()))
    assert not (tmp_path / "out").exists()


def rows_of(models: list[Model]) -> list[int]:
    """Filters of each unique 3x3 layer that may be published."""
    unique = {
        layer_id(array): array.shape[0] * array.shape[1]
        for model in models
        for array in model.layers.values()
        if model.publish_weights and array.shape[2:] == (3, 3)
    }
    return list(unique.values())


def test_a_folder_with_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/README.md").write_text("mine")
    work = write_work(tmp_path / "work", zoo()[:1])
    with pytest.raises(StartError, match=r"holds other files \('README.md'\)"):
        publish(work, target_for(str(tmp_path / "home")))
    assert tree(tmp_path / "home").keys() == {"README.md"}


def test_a_second_publisher_is_refused(tmp_path):
    work = write_work(tmp_path / "work", zoo()[:1])
    with target_for(str(tmp_path / "out")) as busy:
        busy.prepare()
        with pytest.raises(StartError, match="another publisher"):
            publish(work, target_for(str(tmp_path / "out")))
    assert publish(work, target_for(str(tmp_path / "out"))).models == {"pypi": 1}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model("m", {}, source="../up"), r"source '\.\./up': its name must be made of"),
        (Model("m", {}, source="Timm"), "its name must be made of"),
        (Model("m", {}, licence_class="a/b"), "is no licence class"),
    ],
)
def test_names_that_are_no_folder_names_are_refused(tmp_path, model, said):
    with pytest.raises(StartError, match=said):
        publish_models(tmp_path / "work", tmp_path / "out", [model])


def test_nothing_to_publish_is_reported(tmp_path):
    with pytest.raises(StartError, match="no crawl has been here"):
        publish(tmp_path / "nowhere", target_for(str(tmp_path / "out")))
    with pytest.raises(StartError, match="found nothing yet"):
        publish(write_work(tmp_path / "empty", []), target_for(str(tmp_path / "out")))


def test_strings_that_utf8_cannot_hold_are_escaped(tmp_path):
    publish_models(
        tmp_path / "work", tmp_path / "out", [Model("m", network(1), facts={"training_dataset": "bad\udcff\x00set"})]
    )
    for config in ("models", "layers", "filters_sample"):
        assert set(rows(tmp_path / "out", config)["training_dataset"].to_pylist()) == {"bad\\udcff\x00set"}
    assert verify(str(tmp_path / "out")) == []


@pytest.mark.parametrize(
    "stride", [pytest.param(3, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.torture)]
)
def test_a_publisher_killed_at_any_step_leaves_the_old_or_the_new_state(stride, tmp_path):
    """Every rename and removal of a release is one time the last thing the process did."""
    write_work(tmp_path / "first", zoo()[:2], ledger())
    write_work(tmp_path / "second", zoo()[:5])
    script = Path(__file__).with_name("killed.py")
    ran = subprocess.run(
        [sys.executable, script, tmp_path, str(stride)], capture_output=True, text=True, timeout=900, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 25 // stride, "kills"


def test_models_of_older_releases_without_a_column_are_read(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", zoo()[:1])
    path = next((tmp_path / "out/data/models").rglob("*.parquet"))
    old = pq.read_table(path, partitioning=None).drop_columns(["robust"])
    pq.write_table(old, path)
    publish_models(tmp_path / "more", tmp_path / "out", zoo()[1:2])
    tables = [pq.read_table(file, partitioning=None) for file in (tmp_path / "out/data/models").rglob("*.parquet")]
    assert sum(map(len, tables)) == 2
    assert pa.concat_tables(tables, promote_options="default")["robust"].null_count == 2
