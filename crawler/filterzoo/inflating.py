"""Inflates compressed data in pieces, for records, zip members and archive members alike."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

PIECE = 1 << 20
"""Largest piece in bytes."""


class BrokenDataError(Exception):
    """Raised for data that do not inflate, end early, or have trailing bytes."""


def inflate(packed: Iterable[bytes], bits: int, *, may_repeat: bool = False) -> Iterator[bytes]:
    """The inflated bytes, at most `PIECE` at a time; the caller bounds the total.

    bits: as `zlib.decompressobj` takes them. may_repeat: several streams may follow each other, with zeros between
    them.
    """
    decompressor = zlib.decompressobj(bits)
    try:
        for part in packed:
            data = part
            while data:
                if decompressor.eof:
                    data = data.lstrip(b"\0") if may_repeat else data
                    if not data:
                        break
                    if not may_repeat:
                        raise BrokenDataError("bytes behind the end of compressed data")
                    decompressor = zlib.decompressobj(bits)
                yield decompressor.decompress(data, PIECE)
                data = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
        if not decompressor.eof:
            # All input was consumed; a few bytes of output may be buffered.
            yield decompressor.flush()
    except zlib.error as error:
        raise BrokenDataError(f"broken compressed data: {error}") from error
    if not decompressor.eof:
        raise BrokenDataError("compressed data end too early")
