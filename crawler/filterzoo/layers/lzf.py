"""LZF decompression (h5py's own filter) and HDF5's Fletcher checksum."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from filterzoo.inflating import BrokenDataError

_MODULUS = 65535


def decompress(packed: bytes, size: int) -> bytes:
    """The `size` bytes that were packed (liblzf, lzf_d.c); BrokenDataError if they are fewer or more.

    A token below 32 is a run of literal bytes; any other a back reference.
    """
    out = bytearray()
    at, end = 0, len(packed)
    try:
        while at < end:
            token = packed[at]
            at += 1
            if token < 32:
                if at + token + 1 > end:
                    raise BrokenDataError("LZF data end early")
                out += packed[at : at + token + 1]
                at += token + 1
            else:
                length = token >> 5
                if length == 7:
                    length += packed[at]
                    at += 1
                start = len(out) - ((token & 31) << 8) - packed[at] - 1
                at += 1
                _repeat(out, start, length + 2)
            if len(out) > size:
                raise BrokenDataError(f"LZF data of more than the declared {size} bytes")
    except IndexError as error:
        raise BrokenDataError("LZF data end early") from error
    if len(out) != size:
        raise BrokenDataError(f"LZF data of {len(out)} bytes, {size} are declared")
    return bytes(out)


def _repeat(out: bytearray, start: int, length: int) -> None:
    """Append a back reference to `start`; it may overlap the bytes it appends."""
    if start < 0:
        raise BrokenDataError("LZF data that refer to bytes before their start")
    piece = bytes(out[start : start + length])
    out += (piece * (length // len(piece) + 1))[:length]


def fletcher32(parts: Iterable[bytes]) -> int:
    """The checksum of bytes that come in parts, all but the last of even length (HDF5, H5checksum.c).

    Each half modulo 65535: HDF5 writes 65535 for some zeros.
    """
    first = second = 0
    for part in parts:
        words = np.frombuffer(part + b"\0" * (len(part) % 2), ">u2").astype(np.uint64)
        count = len(words)
        second += count * first + int((words * np.arange(count, 0, -1, dtype=np.uint64)).sum())
        first += int(words.sum())
        first, second = first % _MODULUS, second % _MODULUS
    return second << 16 | first
