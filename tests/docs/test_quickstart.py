"""What README and docs/quickstart.md say of the quickstart's networks is what the report says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.program import filterzoo

from filterzoo_analysis import digest, zoo

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"\d*\.\d+|\d+")


def assert_same_but_for_rounding(found: str, made: str) -> None:
    """Words and counts are equal; a decimal may differ by two of its last digits, as on another processor."""
    assert NUMBER.sub("0", found) == NUMBER.sub("0", made), "run `make docs-quickstart`"
    for one, other in zip(NUMBER.findall(found), NUMBER.findall(made), strict=True):
        decimals = len(one.partition(".")[2])
        assert len(other.partition(".")[2]) == decimals, "run `make docs-quickstart`"
        allowed = 2.1 * 10**-decimals if decimals else 0
        assert abs(float(one) - float(other)) <= allowed, f"{one} is {other} here: run `make docs-quickstart`"


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
    assert_same_but_for_rounding(text, digest.with_block(text, "\n".join(lines)))


@pytest.mark.index
def test_the_page_says_what_the_report_says(quickstart: zoo.Zoo) -> None:
    assert_same_but_for_rounding((ROOT / "docs/quickstart.md").read_text(), "\n".join([*digest.page(quickstart), ""]))


def test_a_word_a_count_or_a_decimal_that_is_off_is_seen() -> None:
    assert_same_but_for_rounding("18 models, drift 0.323", "18 models, drift 0.324")
    for other in ("18 layers, drift 0.323", "19 models, drift 0.323", "18 models, drift 0.333", "18 models, drift 0.3"):
        with pytest.raises(AssertionError, match="docs-quickstart"):
            assert_same_but_for_rounding("18 models, drift 0.323", other)
