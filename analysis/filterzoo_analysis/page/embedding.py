"""JSON in a page, escaped so that no string can end the script element."""

from __future__ import annotations

import json


def embedded(value: object) -> str:
    """The value as JSON that is safe in a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
