"""Sources that a manifest may name, before it is parsed: too many is slow, one too few would be an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from filterzoo.errors import StartError
from filterzoo.manifests.manifest import load_manifest
from filterzoo.manifests.naming import may_name
from filterzoo.plugins import load, named_in, only_formats, references

PLAIN = "name: mine\nsources: [{source: local, paths: [a]}]  # not timm\n"


def test_what_the_text_has_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(PLAIN)
    (tmp_path / "two.yaml").write_text(PLAIN.replace("local", "urls"))
    named = may_name([tmp_path / "one.yaml", tmp_path / "two.yaml"])
    assert [name for name in ("local", "urls", "timm", "pypi") if named(name)] == ["local", "urls", "timm"]
    used = named_in([tmp_path / "one.yaml"], "ray")
    offers = ("source:local", "source:pypi", "format:local", "executor:ray", "executor:local")
    assert [offer for offer in offers if used(offer)] == ["source:local", "executor:ray"]


@pytest.mark.parametrize("spelling", [r'"l\x6fcal"', r'"l\u006Fcal"', '"lo\\\n    cal"'])
def test_no_way_to_spell_a_name_hides_it(tmp_path: Path, spelling: str) -> None:
    manifest = tmp_path / "one.yaml"
    manifest.write_text(f"name: mine\nsources:\n  - source: {spelling}\n    paths: [a]\n    license: mit\n")
    loaded = load(references(), named_in([manifest]))
    assert [block.source for block in load_manifest(manifest, loaded.sources).sources] == ["local"]


def test_a_file_that_cannot_be_read_names_everything(tmp_path: Path) -> None:
    assert may_name([tmp_path / "missing.yaml"])("anything")
    assert may_name([tmp_path])("anything")


def test_a_source_that_was_not_imported_is_no_unknown_one(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(PLAIN)
    loaded = load(references(), only_formats)
    with pytest.raises(StartError, match="write the source's name as it is spelled: local"):
        load_manifest(tmp_path / "one.yaml", loaded.sources, loaded.source_names)
    (tmp_path / "one.yaml").write_text(PLAIN.replace("local", "loca1"))
    with pytest.raises(StartError, match=r"no source is called 'loca1' .did you mean 'local'.*known: augreg, .*, urls"):
        load_manifest(tmp_path / "one.yaml", loaded.sources, loaded.source_names)
