"""A plugin that asks for another version of the plugin API is refused with a sentence, and the run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.program import filterzoo

import filterzoo as package
from filterzoo.errors import Reason
from filterzoo.plugins import load, references

PLUGIN = """
from filterzoo import Format, hookimpl
filterzoo_api = {version}

class Mine(Format):
    name = "mine"
    def accepts(self, head, name): return False
    def index(self, file): yield from ()

@hookimpl
def filterzoo_formats():
    return [Mine()]
"""
SENTENCE = (
    "the plugin asks for version {version} of the plugin API (filterzoo_api), and this is FilterZoo "
    f"{package.__version__} with version {package.API_VERSION}; install a fitting release of one of the two"
)


def write(folder: Path, version: object) -> Path:
    path = folder / "mine.py"
    path.write_text(PLUGIN.format(version=version))
    return path


def test_the_version_of_today_is_taken(tmp_path):
    assert package.API_VERSION == 1
    assert list(load(references([write(tmp_path, 1)])[-1:]).formats) == ["mine"]


@pytest.mark.parametrize("version", [2, 0, "'1'", None, 1.5])
def test_another_is_refused(version, tmp_path):
    loaded = load(references([write(tmp_path, version)])[-1:])
    assert (loaded.formats, loaded.format_references, loaded.provided_by) == ({}, [], {})
    (failure,) = loaded.failures
    assert (failure.stage, failure.plugin, failure.reason) == ("import", "mine", Reason.PLUGIN_ERROR)
    assert failure.detail == "WrongVersion: " + SENTENCE.format(version=version)


def test_the_run_goes_on_without_it(tmp_path):
    from safetensors.numpy import save_file

    write(tmp_path, 2)
    save_file({"conv.weight": np.ones((2, 3, 3, 3), np.float32)}, tmp_path / "a.safetensors")
    (tmp_path / "m.yaml").write_text("name: m\nsources:\n  - {source: local, paths: [a.safetensors], license: mit}\n")
    ran = filterzoo("crawl", "m.yaml", "--plugin", "mine.py", "--workers", "1", "--json", cwd=tmp_path)
    assert ran.code == 1
    assert ran.document["checkpoints"] == {"done": 1, "skipped": 0, "failed": 1}
    assert ran.document["reasons"] == {"plugin_error": 1}
