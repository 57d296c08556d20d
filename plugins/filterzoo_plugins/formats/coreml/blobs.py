"""The weights of a Core ML program: blobs in a separate file, each after a header with its length."""

from __future__ import annotations

import struct

from filterzoo import RandomAccessFile, Reason, Refused, Span
from filterzoo_plugins.encodings.names import show

_PREFIX = "@model_path/"
_SENTINEL = 0xDEADBEEF
_HEADER = struct.Struct("<IIQQ")


class Blobs:
    """The side files of a program, only below its folder."""

    def __init__(self, artifact: RandomAccessFile) -> None:
        self._artifact = artifact
        self._files: dict[str, RandomAccessFile] = {}

    def span(self, name: str, offset: int, length: int) -> Span:
        """The byte range of the blob at `offset`; Refused (malformed) unless its length is `length`."""
        if not name.startswith(_PREFIX):
            raise Refused(Reason.MALFORMED, "weights in a file that is not beside the model", show(name))
        side = name.removeprefix(_PREFIX)
        if side not in self._files:
            self._files[side] = self._artifact.beside(side)
        file, where = self._files[side], f"byte {offset} of {show(side)}"
        if offset < 0 or offset + _HEADER.size > file.size:
            raise Refused(Reason.MALFORMED, "a blob outside the file of weights", where)
        sentinel, _, size, start = _HEADER.unpack(file.read(offset, _HEADER.size))
        if sentinel != _SENTINEL:
            raise Refused(Reason.MALFORMED, "no blob starts there", where)
        if size != length or start + size > file.size:
            raise Refused(Reason.MALFORMED, f"a blob of {size} bytes for {length}"[:160], where)
        return Span(start, size, side)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
