"""The hidden inputs of a form on an untrusted page: plain words only, and at most `MAX_INPUTS`."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_NAME = re.compile(r"[a-z][a-z_]{0,20}")
_VALUE = re.compile(r"[A-Za-z0-9_.:~-]{0,300}")
MAX_INPUTS = 12


def hidden_inputs(page: str) -> dict[str, str]:
    """Name -> value of the hidden inputs of the first form that has any; all but plain words are omitted."""
    form = _Form()
    form.feed(page)
    return dict(list(form.found.items())[:MAX_INPUTS])


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._is_over = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name, value = attributes.get("name") or "", attributes.get("value") or ""
        is_hidden = tag == "input" and attributes.get("type") == "hidden" and not self._is_over
        if is_hidden and _NAME.fullmatch(name) and _VALUE.fullmatch(value):
            self.found.setdefault(name, value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self.found:
            self._is_over = True
