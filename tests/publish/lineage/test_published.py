"""`lineage` is published, carded, verified, merged and taken down as the models and layers that it follows from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.publish.folders import RELEASE, licensed, merge, publish_models, rewrite, rows
from tests.publish.merge.test_merging import data
from tests.publish.work import Model, weights, zoo

from filterzoo_publish.release import target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

BASE = {f"layer{place}": weights(90 + place, 8, 8, 3, 3) for place in range(4)}


def tuned() -> dict[str, np.ndarray]:
    """Of smaller tails than BASE."""
    return {name: np.sign(each) * np.abs(each) ** np.float32(0.8) for name, each in BASE.items()}


def models() -> list[Model]:
    """Those of `zoo`, a network, and one that was trained from it."""
    facts = {"base_model": "y-base, elsewhere/z"}
    return licensed([*zoo(), Model("y-base", BASE), Model("x-tuned", tuned(), facts=facts)])


def kinds(folder: Path) -> list[tuple[str, str, str]]:
    return [(row["model_id"], row["kind"], row["other"]) for row in rows(folder, "lineage").to_pylist()]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lineage")
    publish_models(folder / "work", folder / "out", models())
    return folder / "out"


X, Y = "pypi/x-tuned@1", "pypi/y-base@1"


def test_facts_and_guesses_are_published_and_sound(published):
    found = kinds(published)
    assert [row for row in found if row[0] == X] == [
        (X, "inferred", Y),
        (X, "stated", "elsewhere/z"),
        (X, "stated", Y),
    ]
    assert ("pypi/c-copy@1", "copy", "pypi/a-net@1") in found
    assert any(kind == "shared_layers" for _, kind, _ in found)
    assert verify(str(published)) == []
    card = (published / "README.md").read_text()
    assert "| `lineage` |" in card
    assert "### lineage" in card


def test_networks_whose_weights_may_not_be_passed_on_have_no_probes(published):
    layers = rows(published, "layers").to_pylist()
    assert {row["licence_class"] for row in layers if row["probe"] is None} == {"no-redistribution"}
    assert {row["licence_class"] for row in layers if row["probe"] is not None} >= {"permissive"}


def test_a_later_release_and_a_merger_give_what_one_release_gives(published, tmp_path):
    parts = models()
    publish_models(tmp_path / "work-a", tmp_path / "a", parts[:-1])
    assert X not in {row[0] for row in kinds(tmp_path / "a")}
    publish_models(tmp_path / "work-b", tmp_path / "b", parts[-1:])
    merge(tmp_path / "merged", tmp_path / "a", tmp_path / "b")
    publish_models(tmp_path / "work-c", tmp_path / "a", parts[-1:])
    for folder in (tmp_path / "a", tmp_path / "merged"):
        assert rows(folder, "lineage").equals(rows(published, "lineage"))
        assert verify(str(folder)) == []
    assert data(tmp_path / "merged") == data(published)


def test_a_takedown_takes_its_rows_and_finds_the_new_first_copy(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", [*models(), replace(models()[2], id="d-copy")])
    take_down(
        target_for(str(tmp_path / "out")),
        [(TakedownKind.MODEL, "pypi/a-net@1"), (TakedownKind.MODEL, Y)],
        release=RELEASE,
    )
    found = kinds(tmp_path / "out")
    assert ("pypi/d-copy@1", "copy", "pypi/c-copy@1") in found
    assert [row for row in found if row[0] == X] == [(X, "stated", "elsewhere/z"), (X, "stated", "y-base")]
    assert verify(str(tmp_path / "out")) == []


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda own: own[:-1], "is missing"),
        (lambda own: [*own, own[-1] | {"other": "zzz"}], "does not follow"),
        (lambda own: [row | {"score": 0.123} for row in own], "has another score"),
        (lambda own: own[::-1], "not in order"),
    ],
)
def test_verify_finds_rows_that_do_not_follow(published, tmp_path, change, detail):
    shutil.copytree(published, tmp_path / "out")
    (path,) = (tmp_path / "out/data/lineage").glob("*.parquet")
    rewrite(path, lambda table: pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema))
    assert any(detail in problem.detail for problem in verify(str(tmp_path / "out")))
