"""Files inside the jail: read through a descriptor from the parent, or by requests to the parent."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, check_side_name
from filterzoo.jail.messages import Message, Wire


class DescriptorFile(RandomAccessFile):
    """A local file, read through the descriptor from the parent; side files are requested from the parent."""

    def __init__(self, wire: Wire, size: int, descriptor: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._wire = wire

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        data = os.pread(self._descriptor, length, offset)
        while len(data) < length:
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                raise Refused(Reason.CHANGED, "the file became shorter while it was read", f"byte {offset}")
            data += more
        return data

    def beside(self, name: str) -> RandomAccessFile:
        """See `RandomAccessFile.beside`."""
        return _beside_artifact(self._wire, name)

    def close(self) -> None:
        """See `RandomAccessFile.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RelayedFile(RandomAccessFile):
    """A file whose bytes are requested from the parent: a remote file, or a side file."""

    def __init__(self, wire: Wire, size: int, *, is_remote: bool, side: str | None = None) -> None:
        self.size = size
        self.is_remote = is_remote
        self._wire = wire
        self._side = side

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        return _ask(self._wire, Message.READ, [offset, length, self._side])

    def will_read(self, byte_ranges: Sequence[tuple[int, int]]) -> None:
        """See `RandomAccessFile.will_read`."""
        if self.is_remote:
            _ask(self._wire, Message.WILL_READ, [list(byte_ranges), self._side])

    def beside(self, name: str) -> RandomAccessFile:
        """See `RandomAccessFile.beside`."""
        return _beside_artifact(self._wire, name)


def _beside_artifact(wire: Wire, name: str) -> RelayedFile:
    """The side file of that name; the parent states its size."""
    check_side_name(name)
    answer = json.loads(_ask(wire, Message.SIDE, name))
    return RelayedFile(wire, answer["size"], is_remote=answer["is_remote"], side=name)


def _ask(wire: Wire, message: Message, question: Any) -> bytes:
    wire.send_json(message, question)
    answer, body = wire.receive()
    if answer is Message.REFUSED:
        refusal = json.loads(body)
        raise Refused(Reason(refusal["reason"]), refusal["detail"], refusal["where"])
    return body
