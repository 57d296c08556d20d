"""Data inside a page, as JSON that no string in it can leave."""

from __future__ import annotations

import json


def embedded(value: object) -> str:
    """JSON that may stand in a script element whatever strings are in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
