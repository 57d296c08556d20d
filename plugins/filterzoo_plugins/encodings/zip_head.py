"""The names of the first members of a zip file, from its first bytes: they distinguish formats."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_LOCAL = b"PK\3\4"


def member_names(head: bytes) -> Iterator[bytes]:
    """Names while local headers locate the next one; nothing for other files."""
    at = 0
    while head[at : at + 4] == _LOCAL and at + 30 <= len(head):
        flags, length = struct.unpack_from("<6xH10xL", head, at)
        name_length, extra_length = struct.unpack_from("<HH", head, at + 26)
        yield head[at + 30 : at + 30 + name_length]
        if flags & 8:  # the length follows the data
            return
        at += 30 + name_length + extra_length + length
