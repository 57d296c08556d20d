"""No module imports itself over others, whether at its top, inside a function or for types."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("crawler", "plugins", "publish", "analysis", "evaluation")
FACADE = "filterzoo"
"""It names what plugins import from it, of every room, and imports a module when its name is used."""


def modules() -> dict[str, Path]:
    """Name -> file."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT / package).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            within = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in known else node.module for name in within)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def test_imports_have_no_circle() -> None:
    known = modules()
    graph = {name: {*imported(ast.parse(path.read_text()), known)} for name, path in known.items() if name != FACADE}
    assert sum(len(found) for found in graph.values()) > 1000
    assert circle(graph) == []
