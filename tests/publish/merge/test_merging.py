"""Data sets of different people become one: the same as if one crawl had found everything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.hub_server import serve
from tests.program import filterzoo
from tests.publish.folders import file_of, licensed, merge, publish_models, rewrite, rows, tree
from tests.publish.work import Model, ledger, network, zoo

from filterzoo.errors import FilterZooError, StartError
from filterzoo.store import filters as layout
from filterzoo_publish.release import target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """`left` and `right` share layers and a model; `whole` is one release of everything."""
    folder = tmp_path_factory.mktemp("parts")
    models = licensed(zoo())
    publish_models(folder / "work-left", folder / "left", models[:4], ledger())
    publish_models(folder / "work-right", folder / "right", models[2:])
    publish_models(folder / "work-whole", folder / "whole", models, ledger())
    return folder


def data(folder: Path) -> dict[str, str]:
    return {path: digest for path, digest in tree(folder).items() if path.startswith("data/")}


def test_merged_into_a_new_place_they_are_what_one_crawl_would_be(parts, tmp_path):
    report = merge(tmp_path / "out", parts / "left", parts / "right")
    assert report.models == {"pypi": 6, "local": 1}
    assert verify(str(tmp_path / "out")) == []
    assert data(tmp_path / "out") == data(parts / "whole")
    merge(tmp_path / "other", parts / "right", parts / "left")
    assert data(tmp_path / "other") == data(parts / "whole")


def test_merging_into_one_of_them_rewrites_none_of_its_files(parts, tmp_path):
    out = Path(shutil.copytree(parts / "left", tmp_path / "out"))
    before = data(out)
    report = merge(out, parts / "right", release="v2026.01.04")
    assert report.models == {"pypi": 2, "local": 1}
    after = data(out)
    assert {path.split("/")[1] for path, digest in before.items() if after.get(path) != digest} == {"status"}
    assert verify(str(out)) == []
    ids = rows(out, "filters").filter(pc.field("first_filter") == 0)["layer_id"].to_pylist()
    assert len(ids) == len(set(ids))
    days = {row["id"]: (row["first_seen"], row["release"]) for row in rows(out, "models").to_pylist()}
    assert days["big"] == ("2026-01-02", "v2026.01.04"), "the other had it first"
    assert merge(out, parts / "right", parts / "left", release="v2026.01.05").is_empty


def test_layers_over_several_row_groups_arrive_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "ROW_GROUP_NUMBERS", 9 * 32_768)
    publish_models(tmp_path / "work", tmp_path / "one", licensed(zoo()))
    merge(tmp_path / "two", tmp_path / "one")
    assert verify(str(tmp_path / "two")) == []
    assert data(tmp_path / "two") == data(tmp_path / "one")


def test_what_is_taken_down_on_either_side_does_not_come(parts, tmp_path):
    left = Path(shutil.copytree(parts / "left", tmp_path / "left"))
    requests = [(TakedownKind.MODEL, "pypi/big"), (TakedownKind.MODEL, "pypi/d-shares")]
    take_down(target_for(str(left)), requests, in_advance=True)
    out = tmp_path / "out"
    publish_models(tmp_path / "work", out, licensed(zoo()[5:6]))
    take_down(target_for(str(out)), [(TakedownKind.MODEL, "pypi/a-net")], in_advance=True)
    merge(out, parts / "right", left, release=None)
    assert set(rows(out, "models")["id"].to_pylist()) == {"b-net", "c-copy", "e-secret", "f-flat", "big"}
    reasons = {(row["id"], row["reason"]) for row in rows(out, "skipped").to_pylist()}
    assert reasons == {("a-net", "taken_down"), ("broken", "malformed"), (None, "plugin_error")}
    assert verify(str(out)) == []


def test_a_failure_of_one_is_superseded_where_another_has_it(parts, tmp_path):
    broken = Model("broken", network(5), revision="2", facts={"licence": "mit"})
    publish_models(tmp_path / "work", tmp_path / "third", [broken])
    merge(tmp_path / "out", parts / "left", tmp_path / "third")
    assert [row["id"] for row in rows(tmp_path / "out", "skipped").to_pylist()] == [None]
    merge(tmp_path / "left", parts / "left")
    merge(tmp_path / "left", tmp_path / "third")
    assert [row["id"] for row in rows(tmp_path / "left", "skipped").to_pylist()] == [None]


def test_a_licence_is_put_into_the_class_it_has_here(parts, tmp_path):
    """The publisher of the other data set may know licences less well, or not want to."""
    lax = [Model("net", network(1), licence_class="permissive", facts={"licence": "cc-by-nc-4.0"})]
    strict = [Model("net2", network(2), licence_class="no-redistribution", facts={"licence": "mit"})]
    publish_models(tmp_path / "work", tmp_path / "theirs", [*lax, *strict])
    merge(tmp_path / "out", tmp_path / "theirs")
    classes = {row["id"]: row["licence_class"] for row in rows(tmp_path / "out", "models").to_pylist()}
    assert classes == {"net": "non-commercial", "net2": "no-redistribution"}
    assert verify(str(tmp_path / "out")) == []


def with_weights(table: pa.Table) -> pa.Table:
    cells = table["weights"].to_pylist()
    cells[0] = [number + 1 for number in cells[0]]
    return table.set_column(table.schema.get_field_index("weights"), "weights", pa.array(cells, pa.list_(pa.float32())))


def test_weights_that_are_not_those_of_the_layer_are_refused(parts, tmp_path):
    lying = Path(shutil.copytree(parts / "left", tmp_path / "lying"))
    path = file_of(lying, "filters")
    rewrite(path, with_weights).rename(path)
    with pytest.raises(StartError, match="other weights than its id"):
        merge(tmp_path / "out", lying)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("change", [lambda _cell: None, lambda cell: cell[:-1], lambda cell: [None, *cell[1:]]])
def test_statistics_that_are_not_whole_are_refused(parts, tmp_path, change):
    lying = Path(shutil.copytree(parts / "left", tmp_path / "lying"))

    def edit(table: pa.Table) -> pa.Table:
        cells = pa.array([cell and change(cell) for cell in table["raw_m2"].to_pylist()], pa.list_(pa.float64()))
        return table.set_column(table.schema.get_field_index("raw_m2"), "raw_m2", cells)

    rewrite(file_of(lying, "layers"), edit)
    with pytest.raises(FilterZooError, match="raw_m2 of a 3x3 layer is not 45 finite numbers"):
        merge(tmp_path / "out", lying)
    assert not list((tmp_path / "out").glob("*"))


def test_pointers_out_of_the_data_set_are_refused(parts, tmp_path):
    lying = Path(shutil.copytree(parts / "left", tmp_path / "lying"))
    secret = tmp_path / "secret.parquet"
    pq.write_table(pq.read_table(file_of(lying, "filters"), partitioning=None), secret)

    def edit(table: pa.Table) -> pa.Table:
        cells = [path and "../secret.parquet" for path in table["filters_file"].to_pylist()]
        return table.set_column(table.schema.get_field_index("filters_file"), "filters_file", pa.array(cells))

    rewrite(file_of(lying, "layers"), edit)
    with pytest.raises(StartError, match=r"\.\./secret\.parquet"):
        merge(tmp_path / "out", lying)


@pytest.mark.slow
def test_the_command_takes_folders_and_repositories(parts, tmp_path):
    with serve() as hub:
        pushed = filterzoo("publish", "alice/zoo", "--workdir", parts / "work-left", env=hub.environment, cwd=tmp_path)
        assert pushed.code == 0, pushed.err
        command = ["publish", "out", "--from", "alice/zoo", "--from", parts / "right", "--json"]
        dry = filterzoo(*command, "--dry-run", env=hub.environment, cwd=tmp_path)
        assert dry.document["models"] == {"pypi": 6, "local": 1}
        assert filterzoo(*command, env=hub.environment, cwd=tmp_path).document["models"] == {"pypi": 6, "local": 1}
    assert filterzoo("verify", "out", cwd=tmp_path).out == "out: sound\n"
    assert "nowhere: no such folder" in filterzoo("publish", "out", "--from", "nowhere", cwd=tmp_path).err
    (tmp_path / "empty").mkdir()
    assert "empty: holds no data set" in filterzoo("publish", "out", "--from", "empty", cwd=tmp_path).err
