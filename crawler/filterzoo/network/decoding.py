"""Decodes the body of a response as it arrives, in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from filterzoo.errors import Reason, Refused

ACCEPTED = "gzip, deflate"
"""Content encodings that are accepted for documents."""
PIECE = 1 << 18
MAX_RATIO = 200
"""Largest ratio of a decoded body to the received bytes ..."""
UNSUSPECTED = 64 << 20
"""... above this many bytes."""


def decoded(parts: Iterable[bytes], encodings: str, shown: str) -> Iterator[bytes]:
    """The decoded body; Refused (fetch_failed) for a Content-Encoding that was not requested, or broken data.

    Stacked encodings are refused too: their ratios multiply, and no honest server uses them.
    """
    named = [name for name in (part.strip().lower() for part in encodings.split(",")) if name not in {"", "identity"}]
    if not named:
        yield from parts
        return
    if len(named) > 1 or named[0] not in {"gzip", "x-gzip", "deflate"}:
        detail = f"the response is encoded as {ascii(', '.join(named))[:80]}, which was not requested"
        raise Refused(Reason.FETCH_FAILED, detail, shown)
    try:
        yield from _inflated(parts, is_gzip=named[0] != "deflate", shown=shown)
    except zlib.error as error:
        raise Refused(Reason.FETCH_FAILED, f"the response's encoding is damaged: {error}", shown) from error


def _inflated(parts: Iterable[bytes], *, is_gzip: bool, shown: str) -> Iterator[bytes]:
    decompressor: Any = None
    received = decoded = 0
    for part in parts:
        received += len(part)
        if decompressor is None:
            decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16 if is_gzip else _deflate_bits(part))
        packed = part
        while packed and not decompressor.eof:
            piece = decompressor.decompress(packed, PIECE)
            decoded += len(piece)
            if decoded > max(UNSUSPECTED, MAX_RATIO * received):
                raise Refused(Reason.LIMIT, f"{received} bytes of the response decode to more than {decoded}", shown)
            yield piece
            packed = decompressor.unconsumed_tail
    if decompressor is not None and not decompressor.eof:
        yield decompressor.flush()


def _deflate_bits(head: bytes) -> int:
    """Window bits for `deflate`: a zlib stream by the standard, raw deflate from some servers (RFC 9110, 8.4.1.2)."""
    is_zlib = len(head) > 1 and head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
