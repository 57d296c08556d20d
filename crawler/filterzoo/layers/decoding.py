"""Decodes compressed records of a file: in pieces, into preallocated memory, never more bytes than declared."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.inflating import BrokenDataError, inflate
from filterzoo.layers import lzf
from filterzoo.records import CHECKSUM_BYTES, Codec, StoredRange

PIECE = 1 << 20
"""Bytes that are read or decoded at a time."""
IN_MEMORY = 16 << 20
"""Largest decoded record that is kept in memory while tensors are read from it; larger ones go to a file."""

Bytes = npt.NDArray[np.uint8]


class DecodedRecord:
    """A decoded record that several tensors are views of, checked once."""

    def __init__(self, file: RandomAccessFile, record: StoredRange, name: str, scratch: Path | None) -> None:
        self._memory: Bytes | None = None
        self._file: IO[bytes] | None = None
        if record.size <= IN_MEMORY:
            self._memory = np.empty(record.size, np.uint8)
            decode_into(file, record, name, self._memory)
            return
        try:
            self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  # `close` does it
            for piece in _checked(file, record, name):
                self._file.write(piece)
            self._file.flush()
        except OSError as error:
            self.close()
            detail = f"no room to decode {record.size} bytes: {error.strerror}"
            raise Refused(Reason.LIMIT, detail, name) from error
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, length: int) -> Bytes:
        """A copy of some of its bytes, so that the others can be freed."""
        if self._memory is not None:
            return self._memory[offset : offset + length].copy()
        data = np.empty(length, np.uint8)
        view = data.data
        while view and self._file is not None:
            count = os.preadv(self._file.fileno(), [view], offset)
            offset, view = offset + count, view[count:]
        return data

    def close(self) -> None:
        """Free its memory or file."""
        self._memory = None
        if self._file is not None:
            self._file.close()


def decode_into(file: RandomAccessFile, record: StoredRange, name: str, target: Bytes, begin: int = 0) -> None:
    """Fill `target` with the decoded bytes from `begin`; Refused (damaged, limit) if the record does not match.

    The whole record is decoded and checked, even if only a part of it is wanted.
    """
    if record.codec in {Codec.RAW, Codec.SHUFFLE}:
        _check_size(record.length, record, name)
        file.read_into(record.offset + begin, target.data)
        if len(target) == record.size:
            check_crc(zlib.crc32(target.data), record, name)
        return
    offset = -begin
    for piece in _checked(file, record, name):
        first, last = max(0, -offset), min(len(piece), len(target) - offset)
        if first < last:
            target[offset + first : offset + last] = np.frombuffer(piece, np.uint8)[first:last]
        offset += len(piece)


def _check_fletcher32(file: RandomAccessFile, record: StoredRange, name: str) -> None:
    """Refused (damaged) if the checksum after a chunk does not match its bytes."""
    end = record.offset + record.length - CHECKSUM_BYTES
    if record.length < CHECKSUM_BYTES:
        raise Refused(Reason.DAMAGED, "a chunk shorter than its checksum", name)
    parts = (file.read(offset, min(PIECE, end - offset)) for offset in range(record.offset, end, PIECE))
    found, stated = lzf.fletcher32(parts), int.from_bytes(file.read(end, CHECKSUM_BYTES), "little")
    halves = stated >> 16, stated & 0xFFFF
    if found != (halves[0] % 0xFFFF) << 16 | halves[1] % 0xFFFF:
        raise Refused(Reason.DAMAGED, f"Fletcher's checksum is {found:08x}, the file says {stated:08x}", name)


def check_crc(crc: int, record: StoredRange, name: str) -> None:
    """Refused (damaged) if the record's CRC-32 differs from the format's."""
    if record.crc32 is not None and crc != record.crc32:
        raise Refused(Reason.DAMAGED, f"CRC-32 is {crc:08x}, the file says {record.crc32:08x}", name)


def _checked(file: RandomAccessFile, record: StoredRange, name: str) -> Iterator[bytes]:
    """The inflated bytes, piece by piece; size and CRC-32 are compared at the end."""
    size = crc = 0
    for piece in _inflated(file, record, name):
        size += len(piece)
        if size > record.size:
            raise Refused(Reason.LIMIT, f"decodes to more than the declared {record.size} bytes", name)
        crc = zlib.crc32(piece, crc)
        yield piece
    _check_size(size, record, name)
    check_crc(crc, record, name)


def _check_size(size: int, record: StoredRange, name: str) -> None:
    if size != record.size:
        raise Refused(Reason.DAMAGED, f"decodes to {size} bytes, {record.size} are declared", name)


def _inflated(file: RandomAccessFile, record: StoredRange, name: str) -> Iterator[bytes]:
    steps = record.codec.steps
    end = record.offset + record.length
    if "fletcher32" in steps:
        end -= CHECKSUM_BYTES
        _check_fletcher32(file, record, name)
    packed = (file.read(offset, min(PIECE, end - offset)) for offset in range(record.offset, end, PIECE))
    try:
        if "lzf" in steps:
            yield lzf.decompress(b"".join(packed), record.size)
        elif "zlib" in steps or "deflate" in steps:
            yield from inflate(packed, -zlib.MAX_WBITS if record.codec is Codec.DEFLATE else zlib.MAX_WBITS)
        else:
            yield from packed
    except BrokenDataError as error:
        raise Refused(Reason.DAMAGED, str(error), name) from error
