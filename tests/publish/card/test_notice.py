"""NOTICE names everyone whose filters are here, and nobody can forge a line in it."""

from __future__ import annotations

from tests.publish.folders import publish_models
from tests.publish.work import Model, network, zoo

from filterzoo_publish.release import target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind


def test_it_lists_the_networks_with_filters_by_licence(tmp_path):
    models = [
        Model("a", network(1), facts={"licence": "mit", "url": "https://zoo.example/a"}),
        Model("b", network(2), facts={"licence": "mit"}),
        Model("c", network(3), licence_class="attribution", facts={"licence": "cc-by-4.0"}),
        Model("d", network(4), licence_class="unknown"),
        *[model for model in zoo() if model.id in {"e-secret", "f-flat"}],
    ]
    publish_models(tmp_path / "work", tmp_path / "out", models)
    lines = (tmp_path / "out/NOTICE").read_text().splitlines()
    start = lines.index("cc-by-4.0 (attribution)")
    assert lines[start:] == [
        "cc-by-4.0 (attribution)",
        "",
        "  pypi/c@1",
        "",
        "licence unknown (unknown)",
        "",
        "  pypi/d@1",
        "",
        "mit (permissive)",
        "",
        "  pypi/a@1  <https://zoo.example/a>",
        "  pypi/b@1",
    ]
    take_down(target_for(str(tmp_path / "out")), [(TakedownKind.LICENCE, "mit")])
    assert "mit (permissive)" not in (tmp_path / "out/NOTICE").read_text()


def test_a_name_cannot_forge_a_line(tmp_path):
    name = "x\n\nmit (permissive)\u2028\u202e\x1b[2J\x00" + "y" * 100_000
    publish_models(tmp_path / "plain", tmp_path / "a", [Model("x", network(1))])
    publish_models(tmp_path / "work", tmp_path / "b", [Model(name, network(1))])
    plain, hostile = ((tmp_path / place / "NOTICE").read_text() for place in "ab")
    assert len(hostile.splitlines()) == len(plain.splitlines())
    assert len(hostile) < len(plain) + 600
    assert all(character.isprintable() for line in hostile.split("\n") for character in line)
    assert r"pypi/x\n\nmit (permissive)\u2028\u202e\x1b[2J\x00" in hostile
