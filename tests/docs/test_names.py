"""One name, one thing: a class that two modules define is in the list below, with why both mean the same."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("crawler", "plugins", "publish", "analysis", "evaluation")
PER_FORMAT = {
    "Constant": "numbers of a graph that depend on no input",
    "Function": "a named body that a graph's nodes call",
    "GraphWalk": "one walk over a graph, in the order of its operations",
    "Model": "a parsed file",
    "ModelReader": "what parses it",
    "Node": "an operation of a graph",
    "Operator": "a row of the table of convolutions",
    "Value": "what is known of an operation's output",
}
"""Each graph format has its own, in its own folder: a format imports no other format."""
SAME_THING = {
    "Evaluation": "a network on an image set under an attack: its samples, and its row; analysis imports no evaluation",
}
"""Defined in packages that must not import each other."""


def public_classes() -> dict[str, list[str]]:
    """Name -> modules that define it at their top level."""
    found: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return found


def test_a_class_name_means_one_thing() -> None:
    twice = {name: places for name, places in public_classes().items() if len(places) > 1}
    assert {name: places for name, places in twice.items() if name not in {*PER_FORMAT, *SAME_THING}} == {}


def test_what_each_format_has_is_in_formats_only() -> None:
    found = public_classes()
    places = [place for name in PER_FORMAT for place in found[name]]
    assert len(places) > len(PER_FORMAT)
    assert [place for place in places if not place.startswith("plugins/filterzoo_plugins/formats/")] == []


def test_every_page_that_the_program_names_is_there() -> None:
    """Messages and docstrings send the reader to pages of the docs."""
    named = {
        (page, str(path.relative_to(ROOT)))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for page in re.findall(r"(?<![\w/])docs/[\w-]+\.md", path.read_text())
    }
    assert len(named) > 20
    assert [place for place in sorted(named) if not (ROOT / place[0]).is_file()] == []
