"""The places where a licence is stated, and which statement governs."""

from __future__ import annotations

from dataclasses import dataclass

from filterzoo.licensing.licences import Licence
from filterzoo.word import Word


class LicenceOrigin(Word):
    """Where a licence was read. Published in `models.licence_from`, joined by `+` if several places state it."""

    ZOO = "zoo", "the zoo's list, table or card"
    LICENCE_FILE = "licence-file", "a LICENSE file beside the weights, or of the repository that lists them"
    LICENCE_LINK = "licence-link", "the text that the zoo's card links to"
    ORIGINAL = "original", "the zoo that the weights were exported or copied from"
    FILE = "file", "the metadata of the weights' own file"


UNRECOGNISED = "other"
"""Marks an unrecognised licence text, which is stricter than any known licence."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A licence as stated in one place: an expression, a name, or an unrecognised text."""

    text: str
    origin: LicenceOrigin


def governing(*statements: Statement | None) -> tuple[str | None, str | None]:
    """(licence, where it was read) of the strictest statement; an unrecognised text is the strictest.

    (None, None) if nothing is stated.
    """
    stated = [statement for statement in statements if statement is not None and statement.text.strip()]
    if not stated:
        return None, None
    origins = "+".join(dict.fromkeys(str(statement.origin) for statement in stated))
    unknown = [statement.text for statement in stated if Licence.parse(statement.text).expression is None]
    return (unknown[0] if unknown else Licence.strictest(*(one.text for one in stated)).expression), origins
