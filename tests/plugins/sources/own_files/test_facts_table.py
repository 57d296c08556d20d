"""Tables of facts about a user's own files, for the sources that take one."""

from pathlib import Path

import pytest

from filterzoo.errors import StartError
from filterzoo.network.door import Door
from filterzoo_plugins.sources.own_files.facts_table import read_table
from filterzoo_plugins.sources.own_files.local import LocalOptions, LocalSource

TABLE = """\
name,task,robust,clean_accuracy,pair_id,license,architecture
zoo/a.pt,segmentation,,,,,UNet
zoo/*.pt,classification,true,0.953,mine/1,mit,resnet18
*,,no,,,,
"""
YAML = """\
zoo/a.pt: {task: segmentation, architecture: UNet}
zoo/*.pt: {task: classification, robust: true, clean_accuracy: 0.953, pair_id: mine/1, license: mit}
"*": {robust: false}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "zoo").mkdir()
    for name in ("a.pt", "b.pt", "c.onnx"):
        (tmp_path / "zoo" / name).write_bytes(name.encode())
    return tmp_path


def listed(folder, **options):
    with Door(folder / "cache") as door:
        found = LocalSource(LocalOptions(paths=("zoo/*",), **options), door, folder).discover()
        return {one.id: one for one in found}


@pytest.mark.parametrize(("name", "text"), [("facts.csv", TABLE), ("facts.yaml", YAML)])
def test_files_are_labelled_by_id_first_and_then_by_globs(folder, name, text):
    (folder / name).write_text(text)
    found = listed(folder, facts=name, license="apache-2.0")
    a, b, c = (found[f"zoo/{file}"] for file in ("a.pt", "b.pt", "c.onnx"))
    assert (a.task, a.architecture, a.robust, a.clean_accuracy, a.pair_id) == (
        "segmentation",
        "UNet",
        True,
        0.953,
        "mine/1",
    )
    assert (b.task, b.robust, b.licence) == ("classification", True, "mit")
    assert (c.task, c.robust, c.licence) == (None, False, "apache-2.0")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name,task\nx,classifying\n", 2, ["task", "'classifying'", "allowed: classification, feature-extraction"]),
        ("name,tasx\nx,classification\n", 2, ["did you mean 'task'?", "allowed: task, visual_category"]),
        ("name,task,robust\nx,classification,\ny,,maybe\n", 3, ["robust", "neither true nor false"]),
        ("name,clean_accuracy\nx,95.3\n", 2, ["clean_accuracy", "0 to 1"]),
        ("name,eps\nx,-1\n", 2, ["eps"]),
        ("name,license\nx,my own\n", 2, ["license", "spdx.org"]),
        ("name,task\nx,classification\nx,segmentation\n", 3, ["twice"]),
        ("id,task\nx,classification\n", 1, ["none is called name"]),
        ("name,architecture\nx,\x1b[31mred\n", 2, ["one line"]),
        ("name,task\n,classification\n", 2, ["is missing"]),
    ],
)
def test_errors_have_file_line_column_and_allowed_values(folder, text, line, words):
    (folder / "facts.csv").write_text(text)
    with pytest.raises(StartError) as caught:
        listed(folder, facts="facts.csv")
    assert f"facts.csv:{line}:" in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["- a\n", "a: b\n", "a: {task: x\n", "a: {task: [1]}\n", "a: &x {}\nb: *x\n"])
def test_yaml_that_is_no_table_stops_the_start(folder, text):
    (folder / "facts.yaml").write_text(text)
    with pytest.raises(StartError, match=r"facts\.yaml:[12]:"):
        read_table("facts.yaml", folder)


def test_a_table_that_is_not_there_stops_the_start():
    with pytest.raises(StartError, match="cannot be read: No such file or directory; name a table"):
        read_table("nowhere.csv", Path("/nonexistent"))
