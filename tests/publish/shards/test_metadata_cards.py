"""A card for each network: enough to find it again, and as it was, wherever its rows go."""

from __future__ import annotations

import json

import pytest
from tests.publish.folders import cards, licensed, merge, publish_models, rows
from tests.publish.work import Model, network, zoo

from filterzoo.errors import StartError
from filterzoo_publish.release import target_for
from filterzoo_publish.shards.cards import _without_password
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

FACTS = {
    "url": "https://zoo.example/net",
    "licence": "mit",
    "architecture": "resnet18",
    "task": "classification",
    "training_dataset": "ImageNet",
    "clean_accuracy": 0.7,
    "base_model": "alice/base",
    "anatomy": "lung",
    "tags": "timm, arxiv:1512.03385",
    "threat_model": "Linf",
    "eps": 8 / 255,
}


def test_a_card_says_where_everything_is_from(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", [Model("net", network(1), facts=FACTS)])
    card = cards(tmp_path / "out")["pypi/net@1"]
    assert {name: card[name] for name in FACTS if name != "clean_accuracy"} == {
        name: value for name, value in FACTS.items() if name != "clean_accuracy"
    }
    assert card["accuracy"] == {"clean": 0.7, "robust": None, "stated_by": "pypi"}
    assert card["files"] == [
        {"name": "file.pth", "url": "https://zoo.example/file", "size": 1000, "sha256": "0" * 64, "member": None}
    ]
    assert (card["layers"], card["filters"]) == (4, {"1x1": 64, "3x3": 88, "5x5": 16})
    assert card["read"]["integrity"] == "sha256"
    (row,) = rows(tmp_path / "out", "models").to_pylist()
    assert {name: row[name] for name in FACTS} == FACTS
    merge(tmp_path / "merged", tmp_path / "out")
    assert rows(tmp_path / "merged", "models").to_pylist() == [row]
    assert card["warnings"] == ["some depths are only the order in the file"]


def test_every_model_has_one_and_it_goes_where_its_rows_go(tmp_path):
    models = licensed(zoo())
    publish_models(tmp_path / "work", tmp_path / "out", models)
    before = cards(tmp_path / "out")
    assert before.keys() == set(rows(tmp_path / "out", "models")["model_id"].to_pylist())
    merge(tmp_path / "other", tmp_path / "out")
    assert cards(tmp_path / "other") == before
    take_down(target_for(str(tmp_path / "out")), [(TakedownKind.MODEL, "pypi/c-copy")])
    assert cards(tmp_path / "out") == {name: card for name, card in before.items() if name != "pypi/c-copy@1"}
    small = [path for path in (tmp_path / "out").rglob("*") if path.name == "README.md" or path.suffix == ".jsonl"]
    assert not any("c-copy" in path.read_text() for path in small)
    assert verify(str(tmp_path / "out")) == []


@pytest.mark.parametrize("line", ["", "{", "[]", '{"model_id": 1}', '{"model_id": "pypi/other@1"}'])
def test_cards_that_are_wrong_are_found_and_not_taken(tmp_path, line):
    publish_models(tmp_path / "work", tmp_path / "out", licensed(zoo()[:1]))
    next((tmp_path / "out/cards").rglob("*.jsonl")).write_text(f"{line}\n")
    assert {problem.check for problem in verify(str(tmp_path / "out"))} == {"cards"}


@pytest.mark.parametrize(
    "edit",
    [{"files": []}, {"files": [{"url": 1}]}, {"filters": {"3x3": 1}}, {"filters": "many"}],
)
def test_cards_that_lie_are_not_merged(tmp_path, edit):
    publish_models(tmp_path / "work", tmp_path / "out", licensed(zoo()[:1]))
    path = next((tmp_path / "out/cards").rglob("*.jsonl"))
    path.write_text(json.dumps(json.loads(path.read_text()) | edit) + "\n")
    with pytest.raises(StartError, match="the card of"):
        merge(tmp_path / "other", tmp_path / "out")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host/file?id=1", "https://host/file?id=1"),
        ("https://host/a@b", "https://host/a@b"),
        ("zoo/a.onnx", "zoo/a.onnx"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_no_password_is_published(url, shown):
    assert _without_password(url) == shown
