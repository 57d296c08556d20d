"""Finds the sources that a manifest may name, from its text: without importing sources or parsing YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from filterzoo.errors import StartError
from filterzoo.files import text_of

MAX_BYTES = 16_000_000
"""Most bytes of a manifest; more than in any hand-written one."""


def may_name(manifests: Iterable[Path]) -> Callable[[str], bool]:
    """Returns whether a word may be the name of a source in one of these manifests, without false negatives.

    Words in comments count too. If it cannot be determined, every word may be a name: for an unreadable file, which is
    reported when manifests are loaded, and for a file with a backslash, because YAML can escape any name.
    """
    try:
        texts = [text_of(path, "a manifest", MAX_BYTES) for path in manifests]
    except StartError:
        return lambda _: True
    if any("\\" in text for text in texts):
        return lambda _: True
    return lambda name: any(name in text for text in texts)
