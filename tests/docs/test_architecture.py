"""docs/architecture.md: its paths exist, and the words its glossary rules out are in no code and no page."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = tuple(
    next((ROOT / room).glob("filterzoo*")) for room in ("crawler", "plugins", "publish", "analysis", "evaluation")
)
GLOSSARY = PAGE.partition("## Glossary")[2]
SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".js", ".css", ".j2", ".sh", ".tmpl"}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""In names as well: `byte_range`, `ByteRange`."""
C_TYPE = re.compile(r"\b(?:types\.|c_)v" + r"oid(?:_p)?\b")
"""C's type, which has no other name."""


def ruled_out() -> list[str]:
    rows = [line.split("|") for line in GLOSSARY.splitlines() if line.startswith("|")][2:]
    return [word.strip() for row in rows for word in row[3].split(",") if word.strip()]


def forms(word: str) -> set[str]:
    stem = word.removesuffix("e")
    return {word, f"{word}s", f"{word}es", f"{stem}ed", f"{stem}ing"}


def words(text: str) -> set[str]:
    return {word.lower() for word in WORD.findall(C_TYPE.sub("", text))}


@pytest.fixture(scope="module")
def pages() -> dict[str, set[str]]:
    """The words of every tracked file of code or text, but for the changelog, the glossary itself and others' code."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    paths = [
        name for name in listed if Path(name).suffix in SUFFIXES and name != "CHANGELOG.md" and "/vendor/" not in name
    ]
    texts = {name: (ROOT / name).read_text() for name in paths if (ROOT / name).is_file()}
    texts["docs/architecture.md"] = PAGE.removesuffix(GLOSSARY)
    return {name: words(text) for name, text in texts.items()}


def test_words_are_found_in_names_and_in_other_forms() -> None:
    assert {"byte", "range", "chunks"} <= words("class ByteRange: CHUNKS = byte_range")
    assert {"receive", "receives", "received", "receiving", "boxes"} <= forms("receive") | forms("box")
    assert not forms("art") & words("start part_of")


@pytest.mark.parametrize("word", ruled_out())
def test_a_word_that_is_ruled_out_is_nowhere(word: str, pages: dict[str, set[str]]) -> None:
    assert sorted(name for name, found in pages.items() if found & forms(word)) == []


def test_code_refers_to_no_document_that_is_not_here() -> None:
    """`METRICS 2` and the like: definitions stand in docs/measures.md."""
    found = subprocess.run(
        ["git", "grep", "-lE", "METRICS [0-9]", "--", ":!CHANGELOG.md", ":!tests/docs"], cwd=ROOT, check=False
    )
    assert found.returncode == 1


def test_there_are_words_to_look_for(pages: dict[str, set[str]]) -> None:
    assert len(ruled_out()) > 3
    assert len(pages) > 300


def test_the_modules_it_names_are_there() -> None:
    named = re.findall(r"`((?:filterzoo|filterzoo_publish)/[\w/]+(?:\.py|/))`", PAGE)
    assert len(named) > 8
    folders = {"filterzoo": "crawler", "filterzoo_publish": "publish"}
    assert [path for path in named if not (ROOT / folders[path.partition("/")[0]] / path).exists()] == []


def test_the_map_names_every_folder_and_every_module_of_the_core() -> None:
    """A word in backticks each: `crawl/`, `durable`."""
    named = {word.rstrip("/") for word in re.findall(r"`([\w/]+)`", PAGE.removesuffix(GLOSSARY))}
    core = ROOT / "crawler" / "filterzoo"
    wanted = {path.stem for path in core.glob("[!_]*.py")} | {
        folder.name for package in PACKAGES for folder in package.iterdir() if (folder / "__init__.py").exists()
    }
    assert sorted(wanted - named) == []


def test_modules_have_at_most_400_lines_and_folders_at_most_20_modules() -> None:
    paths = [path for package in PACKAGES for path in package.rglob("*.py")]
    assert len(paths) > 400
    assert [str(path) for path in paths if len(path.read_text().splitlines()) > 400] == []
    assert [
        folder
        for folder, count in Counter(path.parent for path in paths if path.stem != "__init__").items()
        if count > 20
    ] == []
