"""CONTRIBUTING.md: its steps add a zoo, a format and an archive to a copy of the repository, as they are written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.kit.fresh_environment import make_environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
NETWORK = save({"conv.weight": np.ones((2, 3, 3, 3), np.float32)})
ZOO = '''
"""A zoo of one network."""
from filterzoo import Artifact, Checkpoint, Source, hookimpl
from filterzoo.files import LocalFile

class Pond(Source):
    """One network on this disk."""
    name = "pond"
    def discover(self):
        yield Checkpoint(id="a", revision="v1", licence="mit", artifacts=(Artifact(url="sample.bin"),))
    def open(self, artifact):
        return LocalFile("sample.bin")

@hookimpl
def filterzoo_sources():
    return [Pond]
'''
FORMAT = '''
"""Three numbers a filter, behind a magic."""
from filterzoo import Format, Span, Tensor, hookimpl

class Pond(Format):
    """One convolution of two by three filters."""
    name = "pond"
    def accepts(self, head, name):
        return head.startswith(b"pond of filters\\n")
    def index(self, file):
        yield Tensor(name="conv.weight", dtype="F32", shape=(2, 3, 3, 3), span=Span(16, 216))

@hookimpl
def filterzoo_formats():
    return [Pond()]
'''
ARCHIVE = '''
"""A file behind a magic."""
from filterzoo import Archive, Member, hookimpl

class Pond(Archive):
    """One member, stored."""
    name = "pond"
    def accepts(self, head, name):
        return head.startswith(b"pond of files\\n")
    def members(self, file):
        yield Member(name="a.safetensors", offset=14, length=file.size - 14, size=file.size - 14)

@hookimpl
def filterzoo_archives():
    return [Pond()]
'''
ADDED = {
    "zoo": ("sources", ZOO, NETWORK, "done +pond/a: 1 layer"),
    "format": ("formats", FORMAT, b"pond of filters\n" + bytes(216), "conv.weight"),
    "archive": ("archives", ARCHIVE, b"pond of files\n" + NETWORK, "conv.weight"),
}


def block(kind: str) -> str:
    (found,) = re.findall(rf"^ *```sh {kind}\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
    return re.sub(r"^ +", "", found, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ADDED)
def test_the_steps_add_one(kind: str, tmp_path: Path) -> None:
    folder, code, sample, printed = ADDED[kind]
    copy = tmp_path / "copy"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    user = make_environment(copy / ".venv")
    (entry,) = re.findall(rf'`NAME = "(filterzoo_plugins\.{folder}\.)NAME"`', PAGE)
    (copy / "plugins" / f"{entry}pond".replace(".", "/")).with_suffix(".py").write_text(code.lstrip())
    project = (copy / "pyproject.toml").read_text()
    first = "[project.entry-points.filterzoo]\n"
    (copy / "pyproject.toml").write_text(project.replace(first, f'{first}pond = "{entry}pond"\n'))
    (copy / "sample.bin").write_bytes(sample)
    (copy / "zoo.yaml").write_text("name: pond\nsources:\n  - source: pond\n")
    said = user.run(block(kind).replace("NAME", "pond"), copy)
    assert re.search(printed, said), said


def test_the_files_it_names_are_there() -> None:
    named = {
        path for path in re.findall(r"`((?:tests|plugins|crawler|docs|\.ci)/[\w./]+)`", PAGE) if "NAME" not in path
    }
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_commands_of_make_it_names_are_there() -> None:
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", PAGE)) <= rules
