"""Licence files: their names, and the licence of a complete text. The text is untrusted and only compared."""

from __future__ import annotations

import re
from collections.abc import Iterable

import licenseclassifier

from filterzoo.licensing.licences import MAX_LENGTH, Licence

MAX_TEXT = 200_000
"""Characters of the longest licence file that is read; the GPL has 35,000."""

_NAME = re.compile(r"(un)?licen[cs]e|copying", re.IGNORECASE)
_ENDINGS = frozenset({"", "md", "txt", "rst"})

_NOTICE = re.compile(r"\W*(copyright\s*(\(c\)|©|\W*\d{4}|:)|\(c\)|©|all rights reserved)", re.IGNORECASE)
_TERMS = re.compile(
    r"licen[cs]|\bterms?\b|commerc|\bonly\b|\buse[ds]?\b|permi|prohib|purposes?\b|restrict|\bmay\b", re.IGNORECASE
)
"""Words that do not occur in a copyright notice: a line with one of them adds terms."""
_CREATIVE_COMMONS_PREAMBLE = 'Creative Commons Corporation ("Creative Commons") is not a law firm'
_OF_WEIGHTS = re.compile(r"licen[cs]e applies to (the )?(model )?weights[^.\n]{0,80}\.?", re.IGNORECASE)
_TITLE = re.compile(
    r"(the|a|an|of|new|simplified|modified|revised|or|clause|license|licence|version|public|general|international"
    r"|creative|commons|attribution|noncommercial|sharealike|noderivatives|no|zero|[0-9]+)"
)
"""Words of a licence's title, besides the parts of its identifier."""


def is_licence_file(path: str) -> bool:
    """Whether a file has the name of a licence file: LICENSE, LICENCE.md, COPYING, UNLICENSE.txt; not LICENSE.py."""
    name = path.rpartition("/")[2]
    stem, _, ending = name.partition(".")
    return _NAME.fullmatch(stem) is not None and ending.lower() in _ENDINGS


def beside(paths: Iterable[str], weights: str) -> str | None:
    """The licence file in a repository that governs `weights`: in its folder, else in the nearest parent."""
    files = {path.rpartition("/")[0]: path for path in sorted(paths, reverse=True) if is_licence_file(path)}
    folder = weights.rpartition("/")[0]
    while folder and folder not in files:
        folder = folder.rpartition("/")[0]
    return files.get(folder)


def licence_of_text(text: str) -> str | None:
    """The licence of a complete text, as an SPDX expression; None unless it is certain.

    A short text may be the licence's name. A file with several licences, or with additional terms ("for research
    only"), is not recognised: which licence governs is a question for a lawyer.
    """
    if not text.strip() or len(text) > MAX_TEXT:
        return None
    # Some files state one licence for the code and another for the weights.
    if len(sections := [match.end() for match in _OF_WEIGHTS.finditer(text)]) == 1:
        text = text[sections[0] :]
    if len(text) <= MAX_LENGTH and (named := Licence.parse(text).expression) is not None:
        return named
    found = licenseclassifier.identify_license(text)
    licences = {entry.id for entry in found}
    if len(licences) != 1:
        return None
    licence = licences.pop()
    # The recognised text may include the copyright notice, with arbitrary words in it.
    if any(_NOTICE.match(line) and _TERMS.search(line) for line in text.splitlines()):
        return None
    rest = _rest(text, [(entry.start, entry.end) for entry in found])
    return (
        Licence.parse(licence).expression if all(_says_nothing(line, licence) for line in rest.splitlines()) else None
    )


def _rest(text: str, spans: list[tuple[int, int]]) -> str:
    """The lines outside the recognised text; the preamble of a Creative Commons licence is part of its text."""
    start = spans[0][0]
    preamble = text.find(_CREATIVE_COMMONS_PREAMBLE)
    if 0 <= preamble < start:
        spans = [(preamble, spans[0][1]), *spans[1:]]
    parts, end = [], 0
    for begin, stop in spans:
        parts.append(text[end:begin])
        end = stop
    tail = text[end:]
    foreword = tail.find("Creative Commons is not a party to its public")
    if foreword >= 0 and preamble >= 0:
        tail = tail[:foreword]
    return "\n".join([*parts, tail])


def _says_nothing(line: str, licence: str) -> bool:
    """Whether a line adds no terms: empty, a rule, a copyright notice, or the licence's own title."""
    words = re.findall(r"[a-z0-9]+", line.lower())
    if not words:
        return True
    if _NOTICE.match(line):
        return True
    own = set(re.findall(r"[a-z0-9]+", licence.lower()))
    return all(word in own or _TITLE.fullmatch(word) for word in words) and len(words) <= 12


def licence_of_address(url: str) -> str | None:
    """The licence at a well-known address (apache.org, creativecommons.org); None for any other address."""
    found = licenseclassifier.identify_license(url[:MAX_LENGTH])
    return (
        Licence.parse(found[0].id).expression
        if len(found) == 1 and (found[0].start, found[0].end) == (0, len(url))
        else None
    )
