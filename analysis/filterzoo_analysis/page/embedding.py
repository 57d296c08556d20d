"""JSON inside a page, escaped so that no string can end its element."""

from __future__ import annotations

import json


def embedded(value: object) -> str:
    """JSON that is safe in a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
