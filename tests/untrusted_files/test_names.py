"""Hostile names through every command: they come back equal, never break a terminal, and are never paths."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
from onnx import helper
from safetensors.numpy import save_file
from tests.plugins.formats import onnx_files
from tests.program import Ran, filterzoo
from tests.tiers import fast_only

from filterzoo.store.workfolder import WorkFolder

OWNERS = [
    "\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "a\0b", "\u202egnp.exe", "\u2066a\u2069", "a\nb", "a\r\nb\tc",
    "\x7f\x08\x08",
    "../../etc/passwd", "..\\..\\windows", "/etc/shadow", "C:\\x", "CON", "~/.ssh/id_rsa", "a" * 100_000, "", " ", ".",
    "=cmd|' /C calc'!A0", "+1", "@SUM(1)", "<script>alert(1)</script>", "](javascript:alert(1))", "a|b|c",
    "---\nlicense: mit",
    "!!python/object:os.system", "{{ 7 * 7 }}", "{% raw %}", "${HOME}", "$(touch CANARY)", "`touch CANARY`",
    "'; DROP TABLE x;--",
    "[bold]rich[/bold]", ":smile:", "\u200bzero\ufeffwidth", "e\u0301\u0327", "\U0001f98a", "\u2028line\u2029",
    "\ue000\uffff", "%s%n",
]  # fmt: skip
TENSORS = [f"{owner}.weight" for owner in OWNERS]
FILES = [
    "\x1b[31mred.safetensors", "\u202egnp.safetensors", "a\nb.safetensors", "=cmd().safetensors",
    "[bold]x[ bold].safetensors",
    "C:\\x.safetensors", "..x.safetensors", "-rf.safetensors", "{{7*7}}.safetensors", "$(touch CANARY).safetensors",
    "a|b<script>.safetensors", " .safetensors", "x" * 240 + ".safetensors",
]  # fmt: skip
BAD_FILES = ["\x1b[31mbroken.safetensors", "broken\n\u202e.pt", "](javascript:x).onnx"]
MANIFEST = 'name: names\nsources: [{source: local, paths: ["zoo/*"], license: mit}]\n'


def weight(number: int) -> np.ndarray:
    return np.full((1, 1, 3, 3), number + 1, "f4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A zoo of hostile names: tensors in one file, layers of a graph, files good and bad; crawled and published."""
    made = tmp_path_factory.mktemp("names") / "inner"
    zoo = made / "zoo"
    zoo.mkdir(parents=True)
    (made / "manifest.yaml").write_text(MANIFEST)
    save_file({name: weight(number) for number, name in enumerate(TENSORS)}, zoo / "tensors.safetensors")
    (zoo / "graph.onnx").write_bytes(graph())
    for number, name in enumerate(FILES):
        save_file({"conv.weight": weight(number)}, zoo / name)
    for name in BAD_FILES:
        (zoo / name).write_bytes(b"not a model")
    return made


def graph() -> bytes:
    names = [name for name in OWNERS if name]
    nodes = [helper.make_node("Conv", ["x", name], [f"{number} out"]) for number, name in enumerate(names)]
    arrays = [onnx_files.stored(name, weight(number)) for number, name in enumerate(names)]
    return onnx_files.model_of(nodes, arrays, outputs=("0 out",)).SerializeToString()


@pytest.fixture(scope="module")
def crawled(folder) -> Ran:
    return filterzoo("crawl", "manifest.yaml", cwd=folder)


@pytest.fixture(scope="module")
def published(folder, crawled) -> Ran:
    return filterzoo("publish", "./out", cwd=folder)


def is_harmless(text: str) -> bool:
    """Nothing that a terminal would obey: no control, format, private or separating characters but line ends."""
    return all(letter in "\n " or unicodedata.category(letter)[0] not in "CZ" for letter in text)


def check_printed(ran: Ran) -> None:
    assert is_harmless(ran.out), [line for line in ran.out.splitlines() if not is_harmless(line)][:3]
    assert is_harmless(ran.err), [line for line in ran.err.splitlines() if not is_harmless(line)][:3]


def test_the_names_are_hostile():
    assert not is_harmless("".join(OWNERS))
    assert len(OWNERS) >= 40


def test_crawl_and_status_print_nothing_that_a_terminal_obeys(folder, crawled):
    assert crawled.code == 1
    check_printed(crawled)
    check_printed(filterzoo("status", cwd=folder))
    document = filterzoo("status", "--json", cwd=folder).document
    assert document["checkpoints"] == {"done": len(FILES) + 2, "skipped": 0, "failed": len(BAD_FILES)}


@pytest.mark.parametrize(
    "name",
    fast_only(["graph.onnx", *FILES[:2], *BAD_FILES[:2]], ["tensors.safetensors", "graph.onnx", *FILES, *BAD_FILES]),
)
def test_inspect_prints_nothing_that_a_terminal_obeys(name, folder):
    ran = filterzoo("inspect", f"zoo/{name}", cwd=folder)
    assert ran.code == (2 if name in BAD_FILES else 0)
    check_printed(ran)
    assert max(map(len, ran.out.splitlines())) < 1000


def test_inspect_gives_names_back_equal(folder):
    files = ["tensors.safetensors", "graph.onnx", *FILES, *BAD_FILES]
    ran = filterzoo("inspect", "--json", *(f"zoo/{name}" for name in files), cwd=folder)
    assert ran.out.isascii()
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert [document["file"] for document in documents] == [f"zoo/{name}" for name in files]
    assert sorted(layer["name"] for layer in documents[0]["layers"]) == sorted(TENSORS)
    assert [layer["name"] for layer in documents[1]["layers"]] == [name for name in OWNERS if name]


def test_rows_hold_names_equal(folder, crawled):
    work = WorkFolder(folder / "filterzoo-work")
    with work.existing_journal() as journal:
        done = {Path(entry.checkpoint.id).name: entry for entry in journal.done()}
        bad = {Path(entry.id or "").name for entry in journal.ledger()}
    assert set(done) == {*FILES, "tensors.safetensors", "graph.onnx"}
    assert bad == set(BAD_FILES)
    names = work.store().layers(done["tensors.safetensors"].layers_fragment)["name"].to_pylist()
    assert sorted(names) == sorted(TENSORS)


def test_the_data_set_holds_names_equal(folder, published):
    import filterzoo as library

    assert published.code == 0, published.err
    check_printed(published)
    verified = filterzoo("verify", "./out", cwd=folder)
    assert verified.code == 0, verified.out
    check_printed(verified)
    filters, layers = library.load(str(folder / "out"), return_layers=True)
    assert set(TENSORS) | {name for name in OWNERS if name} <= set(layers["name"].to_pylist())
    numbers = dict(zip(TENSORS, range(len(TENSORS)), strict=True))
    for model, name, block in zip(layers["model_id"].to_pylist(), layers["name"].to_pylist(), filters, strict=True):
        if model.endswith("tensors.safetensors"):
            assert (block == numbers[name] + 1).all()


def test_the_card_is_what_it_says(folder, published):
    import yaml

    _, front, body = (folder / "out" / "README.md").read_text().split("---\n", 2)
    assert set(yaml.safe_load(front)) >= {"configs", "license"}
    assert "<script" not in body
    assert "](javascript:" not in body
    skipped = pads.dataset(sorted(map(str, (folder / "out" / "data" / "skipped").rglob("*.parquet")))).to_table()
    assert {Path(name).name for name in skipped["id"].to_pylist()} == set(BAD_FILES)


def test_no_name_becomes_a_path(folder, published):
    """Nothing outside the work folder and the data set; and in these, only names of our own."""
    assert {path.name for path in folder.parent.iterdir()} == {"inner"}
    assert {path.name for path in folder.iterdir()} == {"zoo", "manifest.yaml", "filterzoo-work", "out"}
    made = [path.relative_to(folder) for top in ("filterzoo-work", "out") for path in (folder / top).rglob("*")]
    assert len(made) > 20
    for path in made:
        assert str(path).isascii()
        assert str(path).isprintable()
        assert not any(letter in str(path) for letter in "\\<>|$`{}[]=*:;'\"")
        assert len(path.name) < 100
    assert not list(folder.parent.rglob("CANARY*"))
