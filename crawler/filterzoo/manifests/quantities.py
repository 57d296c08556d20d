"""Sizes and counts as people write them: `8GB`, `512 MiB`, `60M`."""

from __future__ import annotations

import re
from decimal import Decimal

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_PATTERN = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([KMGT]?)(I?)(B?)", re.IGNORECASE | re.ASCII)


def parse_size(value: object) -> int:
    """`8GB` -> 8,000,000,000 bytes; KiB, MiB, GiB, TiB are powers of 1,024. ValueError otherwise."""
    return _parse(value, "bytes, such as 8GB, 512MB, 2GiB or 4096", counts=False)


def parse_count(value: object) -> int:
    """`60M` -> 60,000,000. ValueError otherwise."""
    return _parse(value, "a count, such as 60M, 250K or 4096", counts=True)


def _parse(value: object, allowed: str, *, counts: bool) -> int:
    match = _PATTERN.fullmatch(str(value).strip()) if isinstance(value, str | int) else None
    if match and not isinstance(value, bool):
        number, prefix, binary, byte = (part.upper() for part in match.groups())
        factor = (_BINARY if binary else _DECIMAL).get(prefix + binary)
        amount = None if factor is None else Decimal(number) * factor
        if amount and amount == int(amount) and not (counts and (binary or byte)):
            return int(amount)
    raise ValueError(f"{ascii(value)[:40]} is not allowed; write {allowed}")
