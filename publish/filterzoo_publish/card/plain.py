"""Untrusted text on generated pages: only words without meaning in YAML, Markdown or HTML are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable

NOT_STATED = "not stated"
OTHER = "other"
_WORD = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}(_[a-z0-9.+-]{1,63}){0,8}", re.IGNORECASE)
_LICENCE = re.compile(r"[a-z0-9.+()-]{1,64}( [a-z0-9.+()-]{1,64}){0,12}", re.IGNORECASE)


def plain(text: str | None) -> str:
    """The text if it is a plain word, `not stated` for None, else `other`."""
    if text is None:
        return NOT_STATED
    return text if _WORD.fullmatch(text) and not _is_address(text) else OTHER


def plain_licence(text: str | None) -> str:
    """`plain` for SPDX expressions, which may have blanks and parentheses."""
    if text is None:
        return NOT_STATED
    return text if _LICENCE.fullmatch(text) and not _is_address(text) else OTHER


def _is_address(text: str) -> bool:
    """Some Markdown renderers turn these into links."""
    return "www." in text.lower()


def counted_words(texts: Iterable[str | None]) -> list[str]:
    """`plain` of each."""
    return [plain(text) for text in texts]
