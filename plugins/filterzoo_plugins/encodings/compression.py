"""Files compressed as a whole by gzip, bzip2 or xz: recognises them, and unpacks their first bytes."""

from __future__ import annotations

import bz2
import lzma
import zlib

from filterzoo import Packing, RandomAccessFile, Reason, Refused

_MAGIC = {b"\x1f\x8b": Packing.GZIP, b"BZh": Packing.BZIP2, b"\xfd7zXZ\0": Packing.XZ}
_ENDINGS = {Packing.GZIP: ".gz", Packing.BZIP2: ".bz2", Packing.XZ: ".xz"}
_FIRST_BYTES = 4096
_BZIP2_BLOCK = 1 << 20
"""Bzip2 outputs whole blocks of 900 kB; incompressible blocks are hardly larger when packed."""
_XZ_MEMORY = 128 << 20


def packing(head: bytes) -> Packing | None:
    """The compression of a file that starts with `head`; None for others."""
    return next((packing for magic, packing in _MAGIC.items() if head.startswith(magic)), None)


def is_named(packed: Packing, name: str) -> bool:
    """Whether the name has the ending of this compression."""
    return name.lower().endswith(_ENDINGS[packed])


def first_bytes(packed: Packing, file: RandomAccessFile, length: int) -> bytes:
    """The first unpacked bytes, at most `length`; Refused (damaged, limit) if unpacking fails."""
    head = file.read(0, min(file.size, _BZIP2_BLOCK if packed is Packing.BZIP2 else _FIRST_BYTES))
    try:
        match packed:
            case Packing.GZIP:
                return zlib.decompressobj(31).decompress(head, length)
            case Packing.BZIP2:
                return bz2.BZ2Decompressor().decompress(head, length)
            case _:
                return lzma.LZMADecompressor(memlimit=_XZ_MEMORY).decompress(head, length)
    except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
        if _needs_too_much_memory(error):
            raise Refused(Reason.LIMIT, f"unpacking it takes more than {_XZ_MEMORY} bytes of memory") from None
        raise Refused(Reason.DAMAGED, f"broken {packed} data: {error}") from None


def _needs_too_much_memory(error: Exception) -> bool:
    """Whether liblzma reached its `memlimit`: Python has no exception class for that (Modules/_lzmamodule.c)."""
    return isinstance(error, lzma.LZMAError) and "memory usage limit" in str(error).lower()
