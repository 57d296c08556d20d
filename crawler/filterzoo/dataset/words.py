"""Words of a query: the values they match, and suggestions for a word that matches nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase, translate

Names = str | Sequence[str]

_MOST = 8
"""Most known values that a message lists."""
_NEAR = 0.5
"""Least similarity (2 x common characters / all characters) of a suggestion."""
_GLOBS = ("models", "layers", "name", "licence")
"""Keywords that take globs."""
_MAGIC = frozenset("*?[")


def words_of(keyword: str, names: Names | None) -> list[str] | None:
    """The words of a keyword, None if it was not given; TypeError for anything but a text or a series of texts."""
    if names is None or isinstance(names, str):
        return None if names is None else [names]
    if isinstance(names, Iterable):
        words = list(names)
        if all(isinstance(word, str) for word in words):
            return words
        names = next(word for word in words if not isinstance(word, str))
    raise TypeError(f"{keyword}: takes a text or a list of texts, not {_shown(names)}")


def matching(values: Iterable[str], words: Collection[str]) -> set[str]:
    """The values that equal one of the words, or match one as a glob."""
    exact = set(words)
    globs = [re.compile(translate(word)) for word in words if not _MAGIC.isdisjoint(word)]
    return {value for value in values if value in exact or any(glob.match(value) for glob in globs)}


def unmatched(words: Iterable[str], values: Collection[str]) -> list[str]:
    """The words that equal none of the values, and match none as globs."""
    known = set(values)
    return [
        word
        for word in words
        if word not in known and (_MAGIC.isdisjoint(word) or not any(fnmatchcase(value, word) for value in known))
    ]


def unknown_word(keyword: str, word: str, known: Collection[str], what: str = "layer") -> ValueError:
    """The error for a word without a match: the nearest known values, or else all."""
    near = near_matches(word, known)
    part = any(word in value for value in near) and _MAGIC.isdisjoint(word)
    glob = f" {_shown(f'*{word}*')} matches what holds it" if part and keyword in _GLOBS else ""
    hint = f"did you mean {listed(near)}?{glob}" if near else f"known: {listed(sorted(known)) or 'nothing'}"
    return ValueError(f"{keyword}: no {what} has {_shown(word)}; {hint}")


def near_matches(word: str, known: Collection[str]) -> list[str]:
    """At most three known values that are similar to the word or contain it."""
    bare = word.strip("*").lower()
    by_lower = {value.lower(): value for value in sorted(known, reverse=True)}
    containing = [by_lower[value] for value in sorted(by_lower, key=lambda value: (len(value), value)) if bare in value]
    close = [by_lower[value] for value in get_close_matches(bare, list(by_lower), n=3, cutoff=_NEAR)]
    return list(dict.fromkeys([*close, *(containing if bare else ())]))[:3]


def listed(values: Sequence[str]) -> str:
    """The values, quoted; only the first few of many."""
    rest = f" and {len(values) - _MOST} more" if len(values) > _MOST else ""
    return ", ".join(map(_shown, values[:_MOST])) + rest


def _shown(value: object) -> str:
    """For a message: values of a data set are untrusted, so they are escaped for terminals."""
    return ascii(str(value) if isinstance(value, str) else value)[:160]
