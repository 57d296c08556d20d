"""Reads the JSON inside model files as data: size, depth, duplicate keys and text are checked before use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from filterzoo import Reason, Refused

JSON_BYTES = 25_000_000
"""Longest text in bytes: huggingface_hub's limit for a safetensors header."""
MAX_CONTAINERS = 2_000_000
"""Most objects and lists in a text; each takes the parser about 100 bytes."""

# A string, or the rest of the text if it is not terminated: it matches at every quote, so the scan is linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.?+[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")


def read_json(text: bytes, where: str, *, depth: int) -> Any:
    """The value of a JSON text nested at most `depth` deep; Refused (malformed, limit) for anything else.

    Objects become dicts whose keys are unique. Strings are valid Unicode: a lone surrogate could not be written.
    """
    if len(text) > JSON_BYTES:
        raise Refused(Reason.LIMIT, f"a JSON text of {len(text)} bytes; at most {JSON_BYTES} are read", where)
    _check_nesting(text, where, depth)
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise Refused(Reason.MALFORMED, f"not valid JSON: {_short(error)}", where) from error
    return value


def is_natural(value: object) -> bool:
    """Whether a JSON value is an integer in [0, 2^63); `true` and `3.0` are not."""
    return type(value) is int and 0 <= value < 1 << 63


def _check_nesting(text: bytes, where: str, depth: int) -> None:
    """Remove innermost pairs of brackets `depth` times; a rest means deeper nesting or unbalanced brackets."""
    brackets = _STRING.sub(b"", text).translate(_ONE_BRACKET, _NOT_BRACKETS)
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise Refused(Reason.LIMIT, f"more than {MAX_CONTAINERS} objects and lists in a JSON text", where)
    for _ in range(depth):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if b"[]" in brackets:
        raise Refused(Reason.LIMIT, f"JSON nested deeper than {depth}", where)
    if brackets:
        raise Refused(Reason.MALFORMED, "not valid JSON: brackets that do not match", where)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"duplicate key {_first_duplicate(key for key, _ in pairs)}")
    return value


def _first_duplicate(keys: Iterable[str]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return ascii(key)[:80]
        seen.add(key)
    return ""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _short(error: Exception) -> str:
    return ascii(str(error))[1:-1][:120]
