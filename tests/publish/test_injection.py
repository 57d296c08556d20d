"""Hostile ids, names, licences and tags through crawl and publish: data, they come back; text, they mean nothing."""

from __future__ import annotations

import csv
import json
import shutil
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from safetensors.numpy import save_file
from tests.program import filterzoo
from tests.publish.folders import publish_models, rows
from tests.publish.hostile import HOSTILE
from tests.publish.work import Model, network

from filterzoo_publish.release import target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind, read_takedowns
from filterzoo_publish.verify.checks import verify

pytestmark = pytest.mark.slow

MANIFEST = "name: hostile\nsources: [{source: hostile}]\nlicenses: {unknown: publish}\n"
COLUMNS = ("id", "revision", "url", "architecture", "training_dataset", "pretraining_dataset", "file")
OTHER_COLUMNS = ("pair_id",)
TAGS = {
    *("h1", "h2", "h3", "p", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "em", "img"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A work folder and a data set `out` of one network for each hostile word."""
    folder = tmp_path_factory.mktemp("hostile") / "inner"
    (folder / "zoo").mkdir(parents=True)
    (folder / "words.json").write_text(json.dumps(HOSTILE))
    (folder / "manifest.yaml").write_text(MANIFEST)
    for number, word in enumerate(HOSTILE):
        weights = np.full((1, 1, 3, 3), number + 1, np.float32)
        save_file({f"{word}.weight": weights}, folder / f"zoo/{number}.safetensors", metadata={"license": word[:1000]})
    source = Path(__file__).with_name("hostile_source.py")
    ran = filterzoo("crawl", "manifest.yaml", "--plugin", source, cwd=folder)
    assert ran.code in {0, 1}, ran.err
    published = filterzoo("publish", "out", cwd=folder)
    assert published.code == 0, published.err
    assert printable(ran.out + ran.err + published.out + published.err)
    return folder


def printable(text: str) -> bool:
    return all(char == "\n" or unicodedata.category(char)[0] != "C" for char in text)


@pytest.fixture(scope="module")
def readme(place) -> str:
    return (place / "out/README.md").read_text()


def test_there_are_enough_of_them():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


def test_it_is_sound_and_no_file_is_outside_its_folder(place):
    assert verify(str(place / "out")) == []
    assert sorted(path.name for path in place.iterdir()) == [
        "filterzoo-work",
        "manifest.yaml",
        "out",
        "words.json",
        "zoo",
    ]
    names = {path.relative_to(place / "out").as_posix() for path in (place / "out").rglob("*") if path.is_file()}
    assert {name for name in names if "/" not in name} == {
        "CITATION.cff",
        "NOTICE",
        "README.md",
        "croissant.json",
        "releases.csv",
        "takedowns.csv",
    }
    assert {name.split("/")[2] for name in names if name.startswith("data/models/")} == {"hostile"}


def test_parquet_gives_back_every_word(place):
    found = {row["id"]: row for row in rows(place / "out", "models").to_pylist()}
    assert set(found) == set(HOSTILE)
    for word, row in found.items():
        assert {column: row[column] for column in (*COLUMNS, *OTHER_COLUMNS)} == dict.fromkeys(
            (*COLUMNS, *OTHER_COLUMNS), word
        )
        assert row["model_id"] == f"hostile/{word}@{word}"
        assert (row["licence"], row["licence_class"]) == (None, "unknown")
    layers = {row["model_id"]: row["name"] for row in rows(place / "out", "layers").to_pylist()}
    assert layers == {f"hostile/{word}@{word}": f"{word}.weight" for word in HOSTILE}
    weights = {row["model_id"]: row["weights"] for row in rows(place / "out", "filters").to_pylist()}
    assert weights == {f"hostile/{word}@{word}": [number + 1.0] * 9 for number, word in enumerate(HOSTILE)}
    assert set(rows(place / "out", "filters_sample")["training_dataset"].to_pylist()) == set(HOSTILE)


def test_the_ledger_gives_back_every_word(place):
    found = {row["id"]: row for row in rows(place / "out", "skipped").to_pylist()}
    assert set(found) == {f"{word} gone" for word in HOSTILE}
    for word in HOSTILE:
        row = found[f"{word} gone"]
        assert (row["revision"], row["url"], row["licence"]) == (word, word, None)
        assert row["detail"].startswith(word[:2000])


def test_json_gives_back_every_word(place):
    text = "".join(path.read_text() for path in (place / "out/cards").rglob("*.jsonl"))
    assert text.isascii()
    found = {card["id"]: card for card in map(json.loads, text.splitlines())}
    assert set(found) == set(HOSTILE)
    for word, card in found.items():
        words = {card[name] for name in ("revision", "url", "architecture", "base_model", "pair_id", "tags")}
        assert words == {word, card["files"][0]["name"]}
    said = filterzoo("publish", "out", "--json", cwd=place)
    assert said.document["is_empty"] is True
    json.loads((place / "out/croissant.json").read_text())


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> str:
    """The card of a harmless data set."""
    folder = tmp_path_factory.mktemp("plain")
    publish_models(folder / "work", folder / "out", [Model(f"m{n}", network(n), source="plain") for n in range(3)])
    return (folder / "out/README.md").read_text()


def test_the_yaml_is_that_of_any_other_data_set(readme, plain):
    """No untrusted text is in it, so that there is nothing to escape."""
    start, header, _page = readme.split("---\n", 2)
    assert start == ""
    assert yaml.safe_load(header) == yaml.safe_load(plain.split("---\n", 2)[1])
    files = [entry["data_files"] for entry in yaml.safe_load(header)["configs"]]
    assert all(one[0]["path"].startswith("data/") and one[0]["path"].endswith("/**/*.parquet") for one in files)
    assert len(list(yaml.safe_load_all(readme.split("\n# FilterZoo")[0]))) == 2, "the header, and nothing after it"


class Page(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_comment(self, data):
        self.tags.add("comment")

    def handle_decl(self, decl):
        self.tags.add("declaration")


def test_the_page_has_no_tag_or_attribute_of_theirs(readme):
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = readme.split("---\n", 2)[2]
    kinds = {token.type for token in markdown.parse(body)}
    kinds |= {child.type for token in markdown.parse(body) for child in token.children or ()}
    assert not kinds & {"html_block", "html_inline", "link_open"}
    page = Page()
    page.feed(markdown.render(body))
    page.close()
    assert page.tags <= TAGS
    assert {name for name, _ in page.attributes} <= {"class", "style", "src", "alt"}
    assert {value for name, value in page.attributes if name == "src"} <= {"figures/overview.png"}
    assert {value for name, value in page.attributes if name == "style"} <= {"text-align:right"}


def test_a_real_parser_would_have_seen_them():
    """The check above can fail: the same words, put into a page as they are, are found."""
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    page = Page()
    for word in HOSTILE:
        page.feed(markdown.render(f"{word}\n\n"))
        page.reset()
    assert {"script", "iframe", "img", "style"} <= page.tags
    assert "onerror" in {name for name, _ in page.attributes}


def test_no_word_of_theirs_is_on_the_page(readme, plain):
    ours = set(plain.splitlines())
    theirs = [line for line in readme.splitlines() if line not in ours]
    assert not [word for word in HOSTILE if word.strip(" |") and any(f" {word} |" in line for line in theirs)]
    assert printable(readme)
    assert len(readme) < 60_000


def test_the_notice_has_a_line_for_each(place):
    text = (place / "out/NOTICE").read_text()
    assert printable(text)
    start = text.index("licence unknown (unknown)")
    assert len(text[start:].splitlines()) == 2 + len(HOSTILE)


def test_each_can_be_taken_down_and_the_list_is_no_formula(place, tmp_path):
    out = Path(shutil.copytree(place / "out", tmp_path / "out"))
    requests = [(TakedownKind.MODEL, f"hostile/{word}@{word}") for word in HOSTILE[::2]]
    requests += [(TakedownKind.REPO, f"hostile/{word}") for word in HOSTILE if not word.strip("/ ")]
    requests += [
        (TakedownKind.LICENCE, word) for word in HOSTILE if word.startswith(("=", "+", "-", "@", "\t", "\r", "'"))
    ]
    report = take_down(target_for(str(out)), requests, in_advance=True)
    assert set(report.models) >= {name for kind, name in requests if kind is TakedownKind.MODEL}
    assert verify(str(out)) == []
    text = (out / "takedowns.csv").read_bytes().decode()
    assert [(one.kind, one.value) for one in read_takedowns(text)] == requests
    cells = [cell for row in csv.reader(text.splitlines(keepends=True)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    ran = filterzoo("takedown", "out", "--repo", "hostile", "--yes", cwd=tmp_path)
    assert (ran.code, printable(ran.out)) == (0, True)
    assert len(rows(out, "models")) == 0
