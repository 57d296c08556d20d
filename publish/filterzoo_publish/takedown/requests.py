"""Resolves takedown requests against the published models. Requests without a match are refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from filterzoo.errors import StartError
from filterzoo_publish.takedown.takedowns import Takedown, TakedownKind

Request = tuple[TakedownKind, str]
_SHOWN = 5
"""Largest number of similar names in a message."""


def resolved(
    requests: Iterable[Request],
    models: Sequence[Mapping[str, Any]],
    takedowns: Iterable[Takedown],
    *,
    in_advance: bool = False,
) -> list[Request]:
    """The requests as they are stored: globs are replaced by their matches.

    models: rows of `models`. StartError for a request that matches no model and was not made before. in_advance: such
    a request is kept as written instead, for future models.
    """
    known = {(takedown.kind, takedown.value) for takedown in takedowns}
    found: dict[Request, None] = {}
    for kind, value in requests:
        if (kind, value) in known or any(Takedown(kind, value, "").covers(model) for model in models):
            found[kind, value] = None
            continue
        matches = {} if in_advance and kind is not TakedownKind.MODEL else dict.fromkeys(_matches(kind, value, models))
        if not matches and not in_advance:
            raise StartError(_nothing(kind, value, models))
        found |= matches or {(kind, value): None}
    return list(found)


def withdrawn(requests: Sequence[Request], takedowns: Iterable[Takedown]) -> set[Request]:
    """The former requests that the given ones name; a glob names all it matches. StartError if one names none."""
    known = [(takedown.kind, takedown.value) for takedown in takedowns]
    found: set[Request] = set()
    for kind, value in requests:
        named = {(own, name) for own, name in known if own == kind and (name == value or fnmatchcase(name, value))}
        if not named:
            listed = ", ".join(f"--{own} {ascii(name)[1:-1][:80]}" for own, name in known[:_SHOWN])
            there = f"the requests in takedowns.csv are: {listed}" if listed else "takedowns.csv has no request"
            raise StartError(
                f"takedown: --{kind} {ascii(value)[:160]} was not requested, so nothing was changed; {there}"
            )
        found |= named
    return found


def _matches(kind: TakedownKind, value: str, models: Iterable[Mapping[str, Any]]) -> Iterator[Request]:
    """The models that a glob matches. A match without revision stands for all revisions."""
    if not _is_glob(value):
        return
    if kind is not TakedownKind.MODEL:
        raise StartError(f"takedown: --{kind} {ascii(value)[:160]}: globs are for --model; name it in full")
    for model in models:
        name = f"{model['source']}/{model['id']}"
        if fnmatchcase(name, value):
            yield kind, name
        elif fnmatchcase(model["model_id"], value):
            yield kind, model["model_id"]


def _is_glob(value: str) -> bool:
    return any(sign in value for sign in "*?[")


def _nothing(kind: TakedownKind, value: str, models: Iterable[Mapping[str, Any]]) -> str:
    near = _near(value, (name for model in models for name in _names(kind, model)))
    hint = f"near: {', '.join(ascii(name)[1:-1][:120] for name in near)}" if near else "nothing there is called alike"
    return (
        f"takedown: --{kind} {ascii(value)[:160]} matches no model, so nothing was changed; {hint}; "
        "--in-advance refuses a model that is not published yet"
    )


def _names(kind: TakedownKind, model: Mapping[str, Any]) -> Iterable[str]:
    """The values by which requests of that kind can name a model."""
    match kind:
        case TakedownKind.MODEL:
            return (f"{model['source']}/{model['id']}",)
        case TakedownKind.REPO:
            parts = f"{model['source']}/{model['id']}".split("/")
            return ("/".join(parts[:length]) for length in range(1, len(parts) + 1))
        case TakedownKind.LICENCE:
            return (*(model["licence"] or "").split(" and "), model["licence_class"])


def _near(value: str, names: Iterable[str]) -> list[str]:
    """Names that contain the value, then similar names."""
    unique = sorted({name for name in names if name})
    word = value.strip("*?[]/ ").lower()
    last = word.rpartition("/")[2] if _is_glob(value) else word
    holding = [name for name in unique if last and last in name.lower()]
    close = difflib.get_close_matches(value, unique, n=_SHOWN)
    # A long name is alike where its beginning is.
    begun = {name[: len(word)].lower(): name for name in reversed(unique)}
    alike = [*close, *(begun[start] for start in difflib.get_close_matches(word, list(begun), n=_SHOWN, cutoff=0.8))]
    return list(dict.fromkeys([*holding, *alike]))[:_SHOWN]
