"""Which sources a manifest may name, told from its text: before a source is imported, and without parsing YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from filterzoo.errors import StartError
from filterzoo.files import text_of

MAX_BYTES = 16_000_000
"""Most bytes of a manifest; larger than any hand-written one."""


def may_name(manifests: Iterable[Path]) -> Callable[[str], bool]:
    """Whether a word may be a source's name in one of these manifests; no word that is one is missed.

    What stands in a comment counts too. Everything may be named where that cannot be told: in a file that cannot be
    read, which is reported where manifests are loaded, and beside a backslash, since YAML can spell any name with it.
    """
    try:
        texts = [text_of(path, "a manifest", MAX_BYTES) for path in manifests]
    except StartError:
        return lambda _: True
    if any("\\" in text for text in texts):
        return lambda _: True
    return lambda name: any(name in text for text in texts)
