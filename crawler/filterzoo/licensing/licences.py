"""Licences: parses a zoo's text into an SPDX expression, or leaves it unknown; applies a manifest's policy to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any

from license_expression import (
    AND,
    ExpressionError,
    LicenseSymbol,
    LicenseWithExceptionSymbol,
    Licensing,
    build_spdx_licensing,
    get_license_index,
)

from filterzoo.errors import Reason
from filterzoo.licensing.names import CLASSES, SPELLINGS
from filterzoo.word import Word

MAX_LENGTH = 500
"""Longest text in characters that is looked up; longer texts are complete licences."""

_ONE = r"\(*\s*(?!(?:and|or|with)\b)[a-z0-9.+:-]+\s*\)*"
_SHAPE = re.compile(rf"\s*{_ONE}(?:\s+(?:and|or|with)\s+{_ONE})*\s*", re.IGNORECASE | re.ASCII)
_FORMER = re.compile(r"(?!LicenseRef-)(?=.*[0-9]).+", re.IGNORECASE)


class LicenceClass(Word):
    """What a licence requires of those who redistribute the weights.

    The values name folders of the data set and never change.
    """

    PERMISSIVE = "permissive", "pass on freely, with the notice (MIT, BSD, Apache-2.0, public domain)"
    ATTRIBUTION = "attribution", "pass on with credit to the author and a note of what was changed (CC-BY)"
    SHARE_ALIKE = "share-alike", "pass on under the same terms only (GPL, CC-BY-SA, RAIL's use restrictions)"
    NON_COMMERCIAL = "non-commercial", "pass on, but for non-commercial use only (CC-BY-NC)"
    UNKNOWN = "unknown", "no licence is stated, or not one that can be recognised"
    NO_REDISTRIBUTION = "no-redistribution", "not to be passed on, or not in changed form (CC-BY-ND, proprietary)"

    @property
    def strictness(self) -> int:
        """0 for permissive to 5 for no-redistribution: stricter licences have larger numbers."""
        return list(LicenceClass).index(self)


class Unknown(StrEnum):
    """What a manifest may say about checkpoints without a recognised licence."""

    PUBLISH = "publish"
    METADATA_ONLY = "metadata-only"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Decision:
    """What may be published about a checkpoint: its weights, only its measures, or (with a reason) nothing."""

    weights: bool
    reason: Reason | None = None
    detail: str = ""

    @property
    def skip(self) -> bool:
        """Whether nothing may be published; `reason` is recorded in the ledger."""
        return self.reason is not None


@dataclass(frozen=True, slots=True)
class Licence:
    """A parsed licence, created only by `parse` and `strictest`.

    expression: SPDX, lower case; None for an unknown licence. licence_class: for AND the strictest, for OR the most
    permissive.
    """

    expression: str | None
    licence_class: LicenceClass
    _node: Any = field(default=None, compare=False, repr=False)
    """The parsed expression of a known licence."""

    @classmethod
    def parse(cls, text: str | None) -> Licence:
        """The licence that a zoo's text states, unknown unless it is certain.

        The whole text is looked up in a table of spellings and in SPDX. Classifiers (`License :: ...`, one per line)
        are looked up one by one, and all of them apply. "BSD" or "GPL" alone are ambiguous, and so unknown.
        """
        return _parsed((text or "")[: MAX_LENGTH + 1])

    @classmethod
    def strictest(cls, *stated: str | None) -> Licence:
        """The licence that governs if several are stated (by zoo and file): the strictest.

        Empty texts are ignored; an unrecognised text is an unknown licence, stricter than any other. Different, equally
        strict licences govern together.
        """
        return _strictest(tuple(cls.parse(text) for text in stated if text and text.strip()))

    @property
    def is_single(self) -> bool:
        """Whether the expression is a single licence, with or without an exception (no AND or OR)."""
        return isinstance(self._node, LicenseSymbol | LicenseWithExceptionSymbol)

    def is_met(self, meets: Callable[[str], bool]) -> bool:
        """Whether its terms are met. `meets` decides for one licence; OR needs one side, AND all."""
        return self._node is not None and bool(_fold(self._node, meets, any_of=any, all_of=all))


UNKNOWN = Licence(None, LicenceClass.UNKNOWN)
"""No licence is stated, or no recognised one."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A manifest's `licenses`: single-licence expressions, in the form of `Licence.expression`.

    allow: None allows every licence whose terms are met by the data set's notice and credit (permissive, attribution).
    deny wins over allow.
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    unknown: Unknown = Unknown.METADATA_ONLY

    def decide(self, licence: Licence) -> Decision:
        """What may be published under the licence."""
        if licence.licence_class is LicenceClass.UNKNOWN:
            detail = "states no licence that can be recognised, and the manifest says to skip such ones"
            skipped = Decision(weights=False, reason=Reason.LICENCE_UNKNOWN, detail=detail)
            return skipped if self.unknown is Unknown.SKIP else Decision(weights=self.unknown is Unknown.PUBLISH)
        if licence.is_met(self._allows):
            return Decision(weights=True)
        detail = f"the manifest does not allow {licence.expression}"
        return Decision(weights=False, reason=Reason.LICENCE, detail=detail)

    def _allows(self, name: str) -> bool:
        names = _covering(name)
        if not self.deny.isdisjoint(names):
            return False
        if self.allow is None:
            return _class_of(name) in {LicenceClass.PERMISSIVE, LicenceClass.ATTRIBUTION}
        return not self.allow.isdisjoint(names)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Licence:
    """Parse a text; cached, because a zoo states the same few texts for all its checkpoints."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and all(line.startswith("License ::") for line in lines):
        # "OSI Approved" adds nothing to a classifier that names the licence.
        named = [line for line in dict.fromkeys(lines) if line != "License :: OSI Approved"]
        parts = [_look_up(line) for line in named]
        return _of(_conjunction([part for part in parts if part])) if parts and all(parts) else UNKNOWN
    expression = _look_up(" ".join(lines))
    return UNKNOWN if expression is None else _of(expression)


@lru_cache(maxsize=4096)
def _strictest(licences: tuple[Licence, ...]) -> Licence:
    """See `Licence.strictest`."""
    if not licences:
        return UNKNOWN
    top = max(licence.licence_class.strictness for licence in licences)
    strict = [licence for licence in licences if licence.licence_class.strictness == top]
    known = [licence.expression for licence in strict if licence.expression is not None]
    return _of(_conjunction(known)) if len(known) == len(strict) else UNKNOWN


def _of(expression: str) -> Licence:
    """The licence of an expression from `_look_up` or `_conjunction`."""
    node = _parse(expression)

    def most(classes: list[LicenceClass]) -> LicenceClass:
        return max(classes, key=lambda entry: entry.strictness)

    def least(classes: list[LicenceClass]) -> LicenceClass:
        return min(classes, key=lambda entry: entry.strictness)

    return Licence(expression, _fold(node, _class_of, any_of=least, all_of=most), node)


def _look_up(text: str) -> str | None:
    if not text or len(text) > MAX_LENGTH:
        return None
    text = SPELLINGS.get(re.sub(r"[\s,]+", " ", text).strip(" .").casefold(), text)
    if not _SHAPE.fullmatch(text):
        # The parser expects expressions; other texts can raise various errors.
        return None
    try:
        return str(_parse(text)).lower()
    except ExpressionError:
        return None


def _parse(expression: str) -> Any:
    parsed = _licensing().parse(expression, validate=True)
    if parsed is None:
        raise ExpressionError("empty")
    return parsed


def _conjunction(expressions: list[str]) -> str:
    """All expressions joined by AND, independent of their order."""
    parts = set()
    for parsed in map(_parse, expressions):
        parts |= {str(part).lower() for part in (parsed.args if isinstance(parsed, AND) else [parsed])}
    return str(_parse(" and ".join(f"({part})" for part in sorted(parts)))).lower()


def _fold(node: Any, leaf: Callable[[str], Any], *, any_of: Callable[[Any], Any], all_of: Callable[[Any], Any]) -> Any:
    """Evaluate an expression: `leaf` of each licence, `any_of` over OR, `all_of` over AND."""
    if isinstance(node, LicenseSymbol | LicenseWithExceptionSymbol):
        return leaf(str(node).lower())
    values = [_fold(argument, leaf, any_of=any_of, all_of=all_of) for argument in node.args]
    return all_of(values) if isinstance(node, AND) else any_of(values)


def _covering(licence: str) -> set[str]:
    """The names by which a manifest may allow a licence: an exception only adds rights, "or later" includes "only"."""
    base = licence.split(" with ", maxsplit=1)[0]
    return {licence, base, re.sub(r"-or-later$", "-only", base)}


@lru_cache(maxsize=4096)
def _class_of(licence: str) -> LicenceClass:
    """The class of one licence: from our table, else by the category in the ScanCode licence database."""
    base = licence.split(" with ", maxsplit=1)[0]
    for pattern, name in CLASSES:
        if re.fullmatch(pattern, base):
            return LicenceClass(name)
    match _categories().get(base):
        case "Permissive" | "Public Domain":
            return LicenceClass.PERMISSIVE
        case "Copyleft" | "Copyleft Limited":
            return LicenceClass.SHARE_ALIKE
        case "Unstated License" | None:
            return LicenceClass.UNKNOWN
        case _:
            return LicenceClass.NO_REDISTRIBUTION


@cache
def _licensing() -> Licensing:
    """SPDX identifiers, deprecated ones included (GPL-3.0), without ScanCode's vague ones (GPL, LicenseRef-LICENSE)."""
    index = [
        entry
        | {"other_spdx_license_keys": [name for name in entry["other_spdx_license_keys"] if _FORMER.fullmatch(name)]}
        for entry in get_license_index()
    ]
    return build_spdx_licensing(index)


@cache
def _categories() -> dict[str, str]:
    index = get_license_index()
    return {entry["spdx_license_key"].lower(): entry["category"] for entry in index if entry["spdx_license_key"]}
