"""What README and docs/quickstart.md say of the quickstart's networks is what the report says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.program import filterzoo

from filterzoo_analysis import digest, zoo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> zoo.Zoo:
    """What `make demo` publishes."""
    folder = tmp_path_factory.mktemp("quickstart")
    crawled = filterzoo("crawl", ROOT / "manifests/quickstart.yaml", "--workdir", folder / "work")
    assert crawled.code == 0, crawled.err
    assert filterzoo("publish", folder / "zoo", "--workdir", folder / "work").code == 0
    return zoo.read(str(folder / "zoo"))


@pytest.mark.index
def test_readme_holds_the_table(quickstart: zoo.Zoo) -> None:
    text = (ROOT / "README.md").read_text()
    lines = list(digest.block(quickstart))
    assert len([line for line in lines if line.startswith("| ")]) == 2 + 8
    assert digest.with_block(text, "\n".join(lines)) == text, "run `make docs-quickstart`"


@pytest.mark.index
def test_the_page_says_what_the_report_says(quickstart: zoo.Zoo) -> None:
    assert (ROOT / "docs/quickstart.md").read_text() == "\n".join([*digest.page(quickstart), ""]), (
        "run `make docs-quickstart`"
    )
