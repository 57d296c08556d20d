"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from filterzoo_publish.columns import columns_page

ROOT = Path(__file__).parents[2]


def test_the_columns_are_those_of_the_schema() -> None:
    assert (ROOT / "docs" / "columns.md").read_text() == columns_page(), "run `make docs`"


@pytest.mark.parametrize("page", ["commands.md", "hooks.md"])
def test_pages_are_those_of_the_code(page: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "filterzoo.commands.pages", str(tmp_path)], check=True, cwd=ROOT)
    assert (ROOT / "docs" / page).read_text() == (tmp_path / page).read_text(), "run `make docs`"


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    import re

    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
