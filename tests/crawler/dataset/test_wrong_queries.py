"""Wrong queries: one sentence that says what is known; a right query that nothing fulfils gives a warning."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from tests.publish.folders import publish_models
from tests.publish.work import zoo

import filterzoo
from filterzoo.dataset import published
from filterzoo.errors import StartError


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    models = [replace(m, facts=m.facts | {"licence": "MIT"}) if m.id == "b-net" else m for m in zoo()]
    publish_models(folder / "work", folder / "out", models, kernels=("3x3", "5x5"))
    return folder / "out"


WRONG_VALUES = [
    ({"task": "segmentaton"}, "task: no layer has 'segmentaton'; did you mean 'segmentation'"),
    ({"task": "face-detecton"}, "did you mean 'face-detection'"),
    ({"task": ["segmentation", "cooking"]}, "'cooking'; known: 'auto-encoder'"),
    ({"task": "seg*"}, "did you mean 'segmentation'"),
    ({"kind": "depthwize"}, "did you mean 'depthwise'"),
    ({"source": "pipy"}, "did you mean 'pypi'"),
    ({"models": "secret"}, "models: no model has 'secret'; did you mean 'pypi/e-secret@1'"),
    ({"models": ["pypi/*", "hub/*"]}, "no model has 'hub/*'"),
    ({"name": "stems"}, "did you mean 'stem'"),
    ({"layers": "nothing*"}, "layers: no layer has 'nothing*'"),
    ({"licence": "mitt"}, "licence: no model has 'mitt'"),
    ({"licence": "permisive"}, "did you mean 'permissive'"),
    ({"depth": (0.5, 0.1)}, "depth: (0.5, 0.1) is no range"),
    ({"depth": (0, float("nan"))}, "depth: NaN"),
    ({"depth": (2, 3)}, "no range from 0"),
    ({"min_sparsity": float("nan")}, "min_sparsity: NaN"),
    ({"min_sparsity": 0.5, "max_sparsity": 0.1}, "is above max_sparsity"),
    ({"max_sparsness": 0.1}, "did you mean 'max_sparsity'"),
    ({"min_name": 1}, "'name' is no column of numbers in layers; known: "),
    ({"kernel": "7x7"}, "kernel: no layer has '7x7'; known: "),
    ({"kernel": "3 by 3"}, "is no size such as '3x3'"),
    ({"where": pc.field("sparsty") > 0}, "where: there is no column 'sparsty'; did you mean 'sparsity'"),
    ({"where": pc.field("sparsity") > "x"}, "where: "),
]
WRONG_TYPES = [
    ({"unique": "yes"}, "unique: takes True or False, not 'yes'"),
    ({"task": 3}, "task: takes a text or a list of texts, not 3"),
    ({"models": ["pypi/a-net@1", None]}, "models: takes a text or a list of texts, not None"),
    ({"depth": 0.5}, "depth: takes two numbers"),
    ({"depth": ("a", "b")}, "depth: takes a number, not 'a'"),
    ({"kernel": 3}, "kernel: takes a text"),
    ({"where": "sparsity < 0.1"}, "where: takes an expression"),
    ({"min_sparsity": "low"}, "min_sparsity: takes a number, not 'low'"),
    ({"tasks": "segmentation"}, "'tasks' is no keyword of a query; did you mean 'task'"),
    ({"revision": 3}, "revision: takes a tag"),
]


@pytest.mark.parametrize("ask", [filterzoo.load, filterzoo.stats, filterzoo.layers], ids=["load", "stats", "layers"])
@pytest.mark.parametrize(
    ("query", "told", "kind"),
    [(*case, ValueError) for case in WRONG_VALUES] + [(*case, TypeError) for case in WRONG_TYPES],
)
def test_a_wrong_query_is_one_sentence(out, ask, query, told, kind):
    if ask is filterzoo.stats and query.get("kernel") == "7x7":
        told = "of 3x3 filters only, not of 7x7"
    with pytest.raises(kind) as caught:
        ask(out, **query)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "told", "kind"),
    [
        ({"limit": -5}, "limit: -5 is negative", ValueError),
        ({"limit": 2.5}, "limit: takes a whole number", TypeError),
        ({"limit": True}, "limit: takes a whole number", TypeError),
        (
            {"return_layers": True, "columns": ["nme"]},
            "columns: there is no column 'nme'; did you mean 'name'",
            ValueError,
        ),
        ({"kernel": "1x1"}, "1x1 has 4 layers, measured only; stored are '3x3', '5x5'", ValueError),
        ({"kernel": None}, "kernel: takes a size such as '3x3', or a list of sizes, not None", TypeError),
        ({"kernel": ["3x3", "1x1"]}, "among the `kernels` of the crawl's manifest", ValueError),
    ],
)
def test_what_only_load_takes_is_checked(out, query, told, kind):
    with pytest.raises(kind) as caught:
        filterzoo.load(out, **query)
    assert told in str(caught.value)


@pytest.mark.parametrize("by", ["tusk", ["source", "tusk"]])
def test_a_wrong_column_to_group_by(out, by):
    with pytest.raises(ValueError, match=r"no column 'tusk'; did you mean 'task'"):
        filterzoo.stats(out, by=by)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"task": "face-detection"}, "task='face-detection'"),
        ({"kind": "depthwise"}, "kind='depthwise'"),
        ({"licence": "non-commercial"}, "licence='non-commercial'"),
        ({"models": []}, r"models=\[\]"),
        ({"models": "pypi/f-flat@1"}, "kernel='3x3'"),
        ({"models": "pypi/e-secret@1"}, "2 would, but their filters are not published"),
        ({"min_sparsity": 0.5}, "min_sparsity=0.5"),
    ],
)
def test_a_right_query_that_nothing_fulfils_gives_a_warning(out, query, told):
    with pytest.warns(filterzoo.EmptyQuery, match=told) as warned:
        assert filterzoo.load(out, **query).shape == (0, 3, 3)
    assert [warning.filename for warning in warned] == [__file__]


def test_a_list_without_a_kernel_gives_a_warning(out):
    with pytest.warns(filterzoo.EmptyQuery, match="the list is empty"):
        assert filterzoo.load(out, kernel=[]) == {}


def test_a_licence_is_a_class_or_an_expression(out):
    chosen = {"columns": ["model_id"], "kernel": "3x3"}
    found = {
        word: set(filterzoo.layers(out, licence=word, **chosen)["model_id"].to_pylist())  # type: ignore[arg-type]  # fields by name, of several types
        for word in ("share-alike", "MI*", "permissive")
    }
    assert found["share-alike"] == {"pypi/d-shares@1"}
    assert found["MI*"] == {"pypi/b-net@1"}
    both = filterzoo.layers(out, licence=["share-alike", "MIT"], **chosen)["model_id"].to_pylist()  # type: ignore[arg-type]  # fields by name, of several types
    assert set(both) == found["share-alike"] | found["MI*"]
    assert len(filterzoo.load(out, licence="MIT")) == len(filterzoo.load(out, models="pypi/b-net@1"))


def test_several_kernels_are_what_each_is_alone(out):
    several = filterzoo.load(out, kernel=["3x3", "5x5"])
    assert list(several) == ["3x3", "5x5"]
    assert all(np.array_equal(filters, filterzoo.load(out, kernel=kernel)) for kernel, filters in several.items())
    assert several["5x5"].shape[1:] == (5, 5)
    assert len(several["5x5"])


def test_layers_are_a_table_of_measures(out):
    table = filterzoo.layers(out)
    assert set(table["kernel"].to_pylist()) == {"1x1", "3x3", "5x5"}
    assert {"sparsity", "orthogonality", "spectral_norm", "task"} <= set(table.schema.names)
    assert max(len(cell) for cell in table.to_pandas()["frequency_energy"].dropna()) < 10
    assert {"raw_m2", "dct_histogram"}.isdisjoint(table.schema.names)
    some = filterzoo.layers(out, kernel=["1x1", "5x5"], name="head", columns=["name", "kernel"])
    assert some.schema.names == ["name", "kernel"]
    assert set(some["kernel"].to_pylist()) == {"5x5"}
    wide = filterzoo.layers(out, min_n_filters=1_000, columns=["name"])
    assert wide["name"].to_pylist() == ["wide"]


def test_statistics_are_readable_and_labelled(out):
    groups = filterzoo.stats(out, by="task", where=pc.field("task").is_valid())
    assert repr(groups["segmentation"]).startswith("GroupStatistics(task='segmentation', layers=3, filters=48, ")
    assert repr(groups).splitlines()[0] == "Groups by task: 3"
    drift = groups.drift()
    assert drift.labels == groups.labels == ("classification", "object-detection", "segmentation")
    frame = drift.to_pandas()
    assert frame.loc["object-detection", "segmentation"] == drift[1, 2]
    assert list(frame.index) == list(frame.columns) == list(drift.labels)
    with pytest.raises(ValueError, match="not what is computed"):
        drift[::-1].to_pandas()  # type: ignore[attr-defined]  # NumPy types know no subclasses
    assert isinstance(groups.to_pandas(), pd.DataFrame)
    assert groups.to_pandas()["task"].tolist() == list(drift.labels)
    assert not any(isinstance(cell, np.ndarray) for cell in groups.to_pandas().iloc[0])
    assert filterzoo.stats(out).to_pandas()["n_finite"].tolist() == [filterzoo.stats(out).count]
    with pytest.raises(KeyError, match="no such group; `labels` lists the 3"):
        groups["segmentaton"]
    with pytest.raises(TypeError, match="drift is between groups"):
        filterzoo.stats(out).drift()


def test_the_public_names_are_listed():
    assert {name for name in dir(filterzoo) if not name.startswith("__")} == {
        name for name in filterzoo.__all__ if not name.startswith("__")
    }


def test_a_path_is_never_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartError, match="no such folder"):
        filterzoo.load(Path("build/quickstart"))
    for empty_or_odd, told in [
        ("", "target: is empty"),
        ("a" * 300, "File name too long"),
        ("hf://datasets/alice/zoo", "the data set on the Hub is called alice/zoo"),
        ("https://huggingface.co/datasets/alice/zoo", "the data set on the Hub is called alice/zoo"),
    ]:
        with pytest.raises(StartError, match=told):
            filterzoo.load(empty_or_odd)
    with pytest.raises(TypeError, match="target: takes a folder"):
        filterzoo.load(3)  # type: ignore[call-overload]  # no target


def test_a_hub_that_does_not_answer_is_left_soon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(published, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StartError, match="no folder of that name, and the Hub cannot be reached"):
            published.open_hub("build/quickstart", endpoint=endpoint)
