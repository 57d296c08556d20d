"""Reads Darknet's .cfg: sections in brackets, each with one option per line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.names import show

MAX_BYTES = 4 << 20
MAX_SECTIONS = 20_000
MAX_LIST = 10_000
"""Most values of one option."""
_HEAD = re.compile(r"\[([A-Za-z0-9_-]{1,40})\]")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(slots=True)
class ConfigSection:
    """A layer, or the network itself. The first of repeated options counts, as in Darknet."""

    type: str
    line: int
    options: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The section's position, for messages."""
        return f"[{self.type}] in line {self.line}"

    def integer(self, key: str, default: int, least: int = 0) -> int:
        """An integer; Refused (malformed) if it is not one, or less than `least`."""
        text = self.options.get(key)
        if text is None:
            return default
        if not _NUMBER.fullmatch(text) or int(text) < least:
            raise Refused(Reason.MALFORMED, f"{key}={show(text)} is no whole number of at least {least}", self.where)
        return int(text)

    def integers(self, key: str) -> list[int]:
        """Integers, separated by commas."""
        parts = self.options.get(key, "").split(",")
        if len(parts) > MAX_LIST or not all(_NUMBER.fullmatch(part) for part in parts):
            raise Refused(Reason.MALFORMED, f"{key} is no list of whole numbers", self.where)
        return [int(part) for part in parts]


def read_sections(content: bytes) -> list[ConfigSection]:
    """All sections, in order; Refused (malformed) if the first one is not the network's."""
    sections: list[ConfigSection] = []
    for line, raw in enumerate(content.decode("latin-1").split("\n"), 1):
        text = re.sub(r"\s", "", raw)
        if not text or text[0] in "#;":
            continue
        head = _HEAD.fullmatch(text.partition("#")[0])
        if head:
            if len(sections) >= MAX_SECTIONS:
                raise Refused(Reason.LIMIT, f"more than {MAX_SECTIONS} layers", f"line {line}")
            sections.append(ConfigSection(head[1].lower(), line))
            continue
        key, equals, value = text.partition("=")
        if not equals or not sections:
            raise Refused(Reason.MALFORMED, f"neither a section nor an option: {show(text)}", f"line {line}")
        sections[-1].options.setdefault(key, value.partition("#")[0])
    if not sections or sections[0].type not in {"net", "network"}:
        raise Refused(Reason.MALFORMED, "a description that does not start with [net]", "line 1")
    return sections
