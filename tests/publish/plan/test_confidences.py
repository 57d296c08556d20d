"""`confidences`: published with the models they are of, replaced when measured again, gone with a takedown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.evaluation.tables import logits_and_labels, table, write
from tests.publish.folders import RELEASE, licensed, merge, publish_models, rewrite, rows, tree
from tests.publish.work import zoo

from filterzoo.store.confidences import add_rows
from filterzoo_evaluation.confidence import confidence_row
from filterzoo_evaluation.logits import read_evaluations
from filterzoo_publish.plan.plan import open_work
from filterzoo_publish.release import publish_work, target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

A, B, STRANGER = "pypi/a-net@1", "pypi/b-net@1", "pypi/never-crawled@1"


def measure(work: Path, *models: str, factor: float = 1.0, **settings: Any) -> None:
    logits, labels = logits_and_labels(0, n=60)
    work.mkdir(parents=True, exist_ok=True)
    file = write(work / "logits.parquet", *(table(model, logits * factor, labels, **settings) for model in models))
    add_rows(work / "confidences", [confidence_row(found) for found in read_evaluations([file])])


def publish(work: Path, out: Path):
    return publish_work(open_work(work), target_for(str(out)), release=RELEASE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A work folder `work`, published as `out`, with the measures of two models and of one that was never crawled."""
    measure(tmp_path / "work", B, A, STRANGER)
    publish_models(tmp_path / "work", tmp_path / "out", licensed(zoo()))
    return tmp_path


def test_those_of_published_models_are_published_and_loaded(folder: Path) -> None:
    import datasets

    assert [row["model_id"] for row in rows(folder / "out", "confidences").to_pylist()] == [A, B]
    assert verify(str(folder / "out")) == []
    loaded = datasets.load_dataset(str(folder / "out"), "confidences", split="train", cache_dir=str(folder / "cache"))
    assert loaded["model_id"] == [A, B]
    assert sum(loaded[0]["n_right"]) + sum(loaded[0]["n_wrong"]) == 60


def test_new_ones_are_a_release_and_the_same_again_is_none(folder: Path) -> None:
    before = tree(folder / "out")
    assert publish(folder / "work", folder / "out").is_empty
    assert tree(folder / "out") == before
    measure(folder / "work", A, attack="pgd", eps=0.03)
    report = publish(folder / "work", folder / "out")
    assert not report.is_empty
    assert [(row["model_id"], row["attack"]) for row in rows(folder / "out", "confidences").to_pylist()] == [
        (A, "none"),
        (A, "pgd"),
        (B, "none"),
    ]
    changed = {path for path, digest in tree(folder / "out").items() if before.get(path) != digest}
    assert not any(path.startswith(("data/layers", "data/filters", "data/models")) for path in changed)
    assert verify(str(folder / "out")) == []


def test_one_that_was_measured_again_is_replaced(folder: Path) -> None:
    measure(folder / "work", A, factor=4.0)
    publish(folder / "work", folder / "out")
    first, second = rows(folder / "out", "confidences").to_pylist()
    assert first["over_confidence"] > second["over_confidence"]
    assert [first["model_id"], second["model_id"]] == [A, B]


def test_a_takedown_takes_them_too(folder: Path) -> None:
    take_down(target_for(str(folder / "out")), [(TakedownKind.MODEL, A)], release=RELEASE)
    assert [row["model_id"] for row in rows(folder / "out", "confidences").to_pylist()] == [B]
    assert verify(str(folder / "out")) == []
    assert publish(folder / "work", folder / "out").is_empty


def test_they_are_merged_with_their_models(folder: Path) -> None:
    merge(folder / "merged", folder / "out")
    assert rows(folder / "merged", "confidences").to_pylist() == rows(folder / "out", "confidences").to_pylist()
    assert verify(str(folder / "merged")) == []


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"over_confidence": 0.1}, "over_confidence does not follow"),
        ({"ece": 0.9}, "ece does not follow"),
        ({"under_confidence": None}, "under_confidence does not follow"),
        ({"n": 61}, "n does not follow"),
        ({"model_id": STRANGER}, "a model that is not there"),
        ({"n_right": [-1, *[0] * 14]}, "n does not follow"),
    ],
)
def test_verify_finds_what_does_not_follow(folder: Path, change: dict, detail: str) -> None:
    (path,) = (folder / "out/data/confidences").glob("*.parquet")

    def changed(found):
        own = found.to_pylist()
        own[-1] |= change
        return pa.Table.from_pylist(own, schema=found.schema)

    rewrite(path, changed)
    assert any(detail in problem.detail for problem in verify(str(folder / "out")))
    assert pq.read_metadata(next((folder / "out/data/confidences").glob("*.parquet"))).num_rows == 2
