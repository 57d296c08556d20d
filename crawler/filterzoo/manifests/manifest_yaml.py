"""Reads YAML as plain data (maps, lists, scalars) with the line of each key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

Path = tuple[str | int, ...]
"""The path of a value: keys and list positions from the root, as in pydantic's `loc`."""


class YamlError(ValueError):
    """Raised for invalid or unsupported YAML; `line` counts from 1, `key` is dotted or empty."""

    def __init__(self, line: int, key: str, detail: str) -> None:
        super().__init__(line, key, detail)
        self.line = line
        self.key = key
        self.detail = detail


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """The data, and `lines`: the line of the key or the list item, for every value in `data`."""

    data: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of a value, or of its nearest parent that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """The safe loader without aliases: a manifest needs none, and they can expand a small file without bound."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise YamlError(self.line + 1, "", "aliases (*name) are not understood here: write the value out")
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> YamlDocument:
    """Read one document; YamlError for bad syntax, a key given twice, tags and aliases."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Path, int] = {}
            data = None if node is None else _construct(loader, node, (), lines)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, "", f"not YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        raise YamlError(1, "", f"not YAML: a character that is not allowed, at position {error.position}") from error
    except RecursionError as error:
        raise YamlError(1, "", "nested too deeply") from error
    return YamlDocument(data, lines)


def _construct(loader: _Loader, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return _construct_map(loader, node, path, lines)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_construct(loader, item, (*path, place), lines) for place, item in enumerate(node.value)]
    try:
        return loader.construct_object(node, deep=True)
    except ValueError:
        # A scalar that looks like a date or a number but is invalid (2024-13-41).
        _refuse(node, path, "not a valid value; put it in quotes")


def _construct_map(loader: _Loader, node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or not isinstance(key, str):
            _refuse(key_node, path, "a key must be a plain word")
        place = (*path, key)
        if key in data:
            _refuse(key_node, place, f"given twice; first on line {lines[place]}")
        lines[place] = key_node.start_mark.line + 1
        data[key] = _construct(loader, value_node, place, lines)
    return data


def _refuse(node: yaml.Node, path: Path, detail: str) -> NoReturn:
    raise YamlError(node.start_mark.line + 1, dotted(path), detail)


def dotted(path: Path) -> str:
    """('sources', 0, 'packages') -> `sources[0].packages`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
