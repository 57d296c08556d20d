"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import filterzoo
from filterzoo.kit.reference import NAMES, reference_page
from filterzoo_publish.columns import columns_page

ROOT = Path(__file__).parents[2]


def test_the_columns_are_those_of_the_schema() -> None:
    assert (ROOT / "docs" / "columns.md").read_text() == columns_page(), "run `make docs`"


@pytest.mark.parametrize("page", ["commands.md", "hooks.md"])
def test_pages_are_those_of_the_code(page: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "filterzoo.commands.pages", str(tmp_path)], check=True, cwd=ROOT)
    assert (ROOT / "docs" / page).read_text() == (tmp_path / page).read_text(), "run `make docs`"


def test_the_reference_is_that_of_the_docstrings() -> None:
    page = reference_page()
    assert (ROOT / "docs" / "api.md").read_text() == page, "run `make docs`"
    for name in ("Source", "Checkpoint", "Artifact", "Door", "Format", "Tensor", "Archive"):
        assert f"\n## {name}\n" in page
    told = set(re.findall(r"^### (\S+)", page, re.MULTILINE))
    assert {"Source.discover", "Door.with_headers", "Format.index", "Archive.members", "RandomAccessFile.read"} <= told


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_the_reference_is_explained(name: str) -> None:
    public = getattr(filterzoo, name)
    assert len(inspect.getdoc(public) or "") > 20
    assert name in filterzoo.__all__
    methods = [each for each in vars(public).values() if inspect.isfunction(each)] if inspect.isclass(public) else []
    theirs = [each for each in methods if each.__module__.startswith("filterzoo") and not each.__name__.startswith("_")]
    assert [each.__name__ for each in theirs if not each.__doc__] == []


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
