"""A published data set in the layout of CNN Filter DB: what old notebooks read of it, and what comes back from it."""

from __future__ import annotations

import math
import pickle
import resource
import subprocess
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.program import PROGRAM, filterzoo
from tests.publish.folders import publish_models, rows
from tests.publish.work import Model, weights, zoo

import filterzoo as library
from filterzoo.dataset.published import open_published
from filterzoo.errors import FilterZooError, StartError
from filterzoo_publish.cnn_filter_db import table, writing
from filterzoo_publish.cnn_filter_db.frame import write_frame
from filterzoo_publish.cnn_filter_db.object_array import pickled


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish_models(folder / "work", folder / "out", zoo())
    return folder / "out"


def export(target, out):
    files = open_published(str(target))
    planned = table.export_table(files)
    writing.write(files, planned, out)
    return planned


def names(folder):
    return [path.name for path in folder.iterdir()]


def read_table(path):
    """The rows of `/meta` as pandas would read them, by column."""
    with h5py.File(path) as file:
        meta, columns = file["meta"], {}
        for number in range(meta.attrs["axis1_nlevels"]):
            level = meta[f"axis1_level{number}"]
            columns[level.attrs["name"].decode()] = level[...][meta[f"axis1_label{number}"][...]].tolist()
        found: dict[Any, Any] = {}
        for number in range(meta.attrs["nblocks"]):
            block = meta[f"block{number}_values"]
            is_pickled = block.attrs["CLASS"] == b"VLARRAY"
            values = pickle.loads(bytes(block[0])) if is_pickled else block[...]
            items = meta[f"block{number}_items"][...].tolist()
            found |= {name.decode(): values[:, place].tolist() for place, name in enumerate(items)}
        return columns | {name.decode(): found[name.decode()] for name in meta["axis0"][...].tolist()}


def test_filters_and_table_are_those_of_the_release(published, tmp_path):
    export(published, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        filters = file["filters"]
        assert (filters.dtype, filters.shape, filters.chunks) == (np.dtype("<f8"), (51_504, 3, 3), None)
        filters = filters[...]
    assert filters.astype(np.float32).tobytes() == library.load(str(published)).tobytes()
    found = read_table(tmp_path / "out.h5")
    assert tuple(found)[: 4 + len(table.COLUMNS)] == (*table.INDEX, *table.COLUMNS)
    assert list(zip(found["model_id"], found["layer_id"], found["conv_depth"], found["Name"], strict=True)) == [
        (0, 0, 0, "big"),
        (1, 0, 0, "a-net"),
        (1, 1, 2, "a-net"),
        (2, 0, 0, "b-net"),
        (2, 1, 1, "b-net"),
        (2, 2, 2, "b-net"),
        (3, 0, 0, "c-copy"),
        (3, 1, 2, "c-copy"),
        (4, 0, 0, "d-shares"),
        (4, 1, 1, "d-shares"),
    ]
    start = 0
    for place, stated in enumerate(found["filter_ids"]):
        first, last = map(int, stated.split(":"))
        assert (first, last + 1 - first) == (start, found["in_channels"][place] * found["out_channels"][place])
        start = last + 1
    assert start == len(filters)
    body = filters[51_200 + 24 : 51_200 + 24 + 64].reshape(8, 8, 3, 3)
    assert body.astype(np.float32).tobytes() == zoo()[0].layers["body"].tobytes()
    assert found["Task"][:2] == ["Object Detection", "Classification"]
    assert found["model"] == found["Name"]
    assert (found["Visual Category"][1], found["Robust"][1], found["Precision"][1]) == ("natural", True, "fp32")
    assert [found[name][1] for name in ("(1, 1) filters", "(3, 3) filters", "(5, 5) filters", "Conv")] == [
        64,
        88,
        16,
        4,
    ]
    assert (found["total_filters"][1], found["3x3_filter_share"][1]) == (104, 88 / 104)
    assert all(math.isnan(found[name][1]) for name in ("Paper", "producer", "layer_depth", "Licence"))
    # The notebooks take these as they come: what is unknown is no text, and counts as not robust.
    assert [found[name][0] for name in ("Task", "Visual Category", "Robust")] == ["Object Detection", "", ""]
    assert not any(isinstance(cell, float) for name in ("Task", "Visual Category", "Robust") for cell in found[name])


def test_batches_of_any_size_give_the_same_filters(published, tmp_path, monkeypatch):
    export(published, tmp_path / "whole.h5")
    for size in (1, 100, 51_250):
        monkeypatch.setattr(writing, "BATCH", size)
        export(published, tmp_path / f"{size}.h5")
        with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / f"{size}.h5") as batched:
            assert whole["filters"][...].tobytes() == batched["filters"][...].tobytes()


def test_an_array_of_objects_comes_back_from_its_pickle():
    values = np.array([["a", True, math.nan], ["ü\n\ud800", False, 1.5], ["", "x" * 300, -0.0]], dtype=object)
    found = pickle.loads(pickled(values))
    assert found.dtype == np.object_
    assert found.shape == (3, 3)
    assert repr(found.tolist()) == repr(values.tolist())
    with pytest.raises(TypeError, match="no place for bytes"):
        pickled(np.array([b"raw"], dtype=object))


def test_what_pandas_reads(published, tmp_path):
    import pandas as pd

    export(published, tmp_path / "out.h5")
    frame, found = pd.read_hdf(tmp_path / "out.h5", "meta"), read_table(tmp_path / "out.h5")
    assert list(frame.index.names) == list(table.INDEX)
    assert list(frame.columns) == list(found)[4:]
    for name in frame.columns:
        read = frame[name].astype(object).fillna("nan").tolist()
        assert read == ["nan" if isinstance(cell, float) and math.isnan(cell) else cell for cell in found[name]]


def test_what_notebooks_do_with_the_table_and_the_pairs(tmp_path):
    """The steps of the originals' notebooks that join tables, one after the other; two models share a name."""
    import pandas as pd

    facts = {"training_dataset": "cifar10", "architecture": "wrn"}
    models = [
        Model("normal_cifar10_", {"a": weights(1, 4, 4, 3, 3)}, facts={**facts, "pair_id": "p", "robust": False}),
        Model("rb_1_cifar10_", {"a": weights(2, 4, 4, 3, 3)}, facts={**facts, "pair_id": "p", "robust": True}),
        Model("rb_2_cifar10_", {"a": weights(3, 4, 4, 3, 3)}, facts={**facts, "pair_id": "p", "robust": True}),
        Model("lonely", {"a": weights(4, 4, 4, 3, 3)}, facts={"pair_id": "q", "robust": True}),
        Model("densenet121_x", {"a": weights(5, 4, 4, 3, 3)}, facts={"visual_category": "medical-xray"}),
    ]
    publish_models(tmp_path / "work", tmp_path / "out", models)
    export(tmp_path / "out", tmp_path / "data.h5")
    meta = pd.read_hdf(tmp_path / "data.h5", "meta")
    pairings = pd.read_csv(tmp_path / "data.robust_vs_normal_pairings.csv", index_col=0)
    assert pairings.to_dict("list") == {
        "Robust": ["rb_1_cifar10_", "rb_2_cifar10_"],
        "Normal": ["normal_cifar10_"] * 2,
        "Arch": ["wrn"] * 2,
        "Dataset": ["cifar10"] * 2,
    }
    assert meta["Task"].apply(lambda s: "Segmentation" if "Segmentation" in s else s).tolist() == [""] * 5
    assert meta[meta["Visual Category"].str.contains("medical")]["model"].tolist() == ["densenet121_x"]
    assert sorted(meta[meta.Robust.apply(bool)].Name) == ["lonely", "rb_1_cifar10_", "rb_2_cifar10_"]
    layers = meta.reset_index().set_index("model").loc[list(pairings.Normal.values)]
    assert len(layers) == 2
    assert meta.groupby(["Training-Dataset", "Robust"]).filter_ids.apply(len).tolist() == [1, 2]
    with pytest.raises(StartError, match="is there already"):
        export(tmp_path / "out", tmp_path / "data.h5")


def test_the_command_says_what_it_wrote_and_what_not(published, tmp_path):
    ran = filterzoo("export", published, "--format", "cnn-filter-db", "out.h5", "--json", cwd=tmp_path)
    assert ran.code == 0
    assert ran.document == {
        "target": str(published),
        "file": "out.h5",
        "models": 5,
        "layers": 10,
        "filters": 51_504,
        "pairs": 0,
        "left_out": {"transposed": 0, "unpublished": 2},
    }
    before = (tmp_path / "out.h5").read_bytes()
    again = filterzoo("export", published, "--format", "cnn-filter-db", "out.h5", cwd=tmp_path)
    assert (again.code, again.out) == (2, "")
    assert again.err == "filterzoo: out.h5: is there already; name a new file\n"
    assert (tmp_path / "out.h5").read_bytes() == before
    assert names(tmp_path) == ["out.h5"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "o.h5"], "nowhere: no such folder"),
        ([".", "o.h5"], "not a published data set"),
        (["flat", "o.h5"], "holds no 3x3 filters"),
        (["full", "no/o.h5"], "no/o.h5: cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(tmp_path, arguments, said):
    publish_models(tmp_path / "w1", tmp_path / "flat", [Model("flat", {"a": weights(1, 4, 4, 1, 1)})])
    publish_models(tmp_path / "w2", tmp_path / "full", [Model("full", {"a": weights(1, 4, 4, 3, 3)})])
    ran = filterzoo("export", *arguments, "--format", "cnn-filter-db", cwd=tmp_path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert said in ran.err
    assert not list(tmp_path.glob("**/*o.h5*"))


def test_a_data_set_that_lacks_filters_it_lists_leaves_no_file(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", [Model("net", {"a": weights(1, 4, 4, 3, 3)})])
    (path,) = (tmp_path / "out/data/filters").rglob("*.parquet")
    whole = pq.read_table(path, partitioning=None)
    first = whole["weights"][0].as_py()
    pq.write_table(whole.set_column(whole.schema.get_field_index("weights"), "weights", [[first[:90]]]), path)
    with pytest.raises(FilterZooError, match="10 of 16"):
        export(tmp_path / "out", tmp_path / "o.h5")
    with pytest.raises(FilterZooError, match="10 of 16"):
        library.load(str(tmp_path / "out"))
    path.unlink()
    with pytest.raises(FilterZooError, match="filterzoo verify"):
        export(tmp_path / "out", tmp_path / "o.h5")
    assert not list(tmp_path.glob("*o.h5*"))


def test_a_data_set_whose_layers_lack_their_shape_is_refused(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", [Model("net", {"a": weights(1, 4, 4, 3, 3)})])
    (path,) = (tmp_path / "out/data/layers").rglob("*.parquet")
    whole = pq.read_table(path, partitioning=None)
    nothing = pa.nulls(1, whole.schema.field("shape").type)
    pq.write_table(whole.set_column(whole.schema.get_field_index("shape"), "shape", nothing), path)
    ran = filterzoo("export", "out", "--format", "cnn-filter-db", "o.h5", cwd=tmp_path)
    assert (ran.code, len(ran.err.splitlines()), "layers without shape" in ran.err) == (2, 1, True)


def test_a_file_that_somebody_else_made_meanwhile_stays(published, tmp_path, monkeypatch):
    written = write_frame

    def slow(*arguments):
        written(*arguments)
        (tmp_path / "o.h5").write_text("theirs")

    monkeypatch.setattr(writing, "write_frame", slow)
    with pytest.raises(StartError, match="somebody else"):
        export(published, tmp_path / "o.h5")
    assert (tmp_path / "o.h5").read_text() == "theirs"
    assert names(tmp_path) == ["o.h5"]


@pytest.mark.parametrize("largest", [1_000, 1_000_000, 3_694_900])
def test_a_limit_of_file_sizes_is_said_in_one_line(published, tmp_path, largest):
    ran = subprocess.run(
        [str(PROGRAM), "export", str(published), "--format", "cnn-filter-db", "o.h5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1), ran.stderr
    assert "allow larger files" in ran.stderr
    assert names(tmp_path) == []


MANIFEST = """
name: first
licenses: {allow: [apache-2.0]}
sources:
  - {source: local, paths: ["zoo/*"], license: apache-2.0}
"""
BACK = """
name: back
licenses: {allow: [apache-2.0]}
sources:
  - {source: cnn_filter_db, path: export.h5}
"""
CARRIED = ("training_dataset", "task", "visual_category", "licence", "licence_class", "framework", "filters_3x3")


@pytest.mark.slow
def test_what_is_exported_comes_back_as_it_was(tmp_path):
    generator = torch.Generator().manual_seed(7)
    (tmp_path / "zoo").mkdir()
    for number in range(2):
        state = {
            "stem.weight": torch.randn(8, 3, 7, 7, generator=generator),
            "a.conv.weight": torch.randn(16, 8, 3, 3, generator=generator),
            "dw.weight": torch.randn(16, 1, 3, 3, generator=generator),
            "up.deconv.weight": torch.randn(16, 4, 3, 3, generator=generator),
            "b.conv.weight": torch.randn(4, 4, 3, 3, generator=generator).half().float(),
        }
        torch.save(state, tmp_path / "zoo" / f"net{number}.pt")
    for name, manifest in (("first", MANIFEST), ("back", BACK)):
        (tmp_path / f"{name}.yaml").write_text(manifest)
        assert filterzoo("crawl", f"{name}.yaml", "--workdir", f"w-{name}", cwd=tmp_path).code == 0
        assert filterzoo("publish", f"out-{name}", "--workdir", f"w-{name}", cwd=tmp_path).code == 0
        if name == "first":
            ran = filterzoo("export", "out-first", "--format", "cnn-filter-db", "export.h5", cwd=tmp_path)
            assert (ran.code, ran.out.splitlines()[-1]) == (0, "left out: 2 transposed layers")
    first, back = (
        library.load(str(tmp_path / f"out-{name}"), kind=("conv", "depthwise")) for name in ("first", "back")
    )
    assert len(back) == 2 * (128 + 16 + 16)
    assert first.tobytes() == back.tobytes()
    models, models_back = (rows(tmp_path / f"out-{name}", "models").to_pylist() for name in ("first", "back"))
    assert [model["id"] for model in models_back] == [model["id"] for model in models]
    for model, model_back in zip(models, models_back, strict=True):
        transposed = {"filters_3x3": model["filters_3x3"] - 64}
        assert {name: model_back[name] for name in CARRIED} == {name: model[name] for name in CARRIED} | transposed
    layers, layers_back = (
        [
            {name: layer[name] for name in ("name", "shape", "conv_depth", "conv_depth_norm", "layer_id", "sparsity")}
            for layer in rows(tmp_path / f"out-{name}", "layers").to_pylist()
            if layer["kernel"] == "3x3" and layer["kind"] != "transposed"
        ]
        for name in ("first", "back")
    )
    assert layers == layers_back
    assert {layer["conv_depth"] for layer in layers_back} == {1, 2, 4}
    assert filterzoo("verify", "out-back", cwd=tmp_path).out == "out-back: sound\n"
