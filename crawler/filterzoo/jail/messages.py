"""Framed messages between the jail's parent and child: a kind, a length, a body. Nothing is pickled."""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import time
from enum import IntEnum
from typing import Any

from filterzoo.errors import Refused

MAX_BODY = 64 << 20
"""Bytes of the largest message either side accepts."""
MAX_VALUES = 3_000_000
"""Most values in the JSON of a message: each takes up to a hundred bytes once parsed."""

_HEADER = struct.Struct(">BI")


class Message(IntEnum):
    """The kinds of messages: who sends each, and its body."""

    SETUP = 1
    """Parent: JSON {plugins, prepared, memory_bytes, network}: plugins to load, formats to prepare, memory limit."""
    READY = 2
    """Child: JSON {confinement, formats}: the active layers, and the names of the loaded formats."""
    INDEX = 3
    """Parent: JSON {name, member, all_tensors, size, is_remote, cpu_seconds}; a local file's descriptor."""
    READ = 4
    """Child: JSON [offset, length, side], a byte range of a file that it has no descriptor of."""
    SIDE = 5
    """Child: JSON name of a side file to read."""
    DATA = 6
    """Parent: the requested bytes, or JSON {size, is_remote} of a side file."""
    TABLE = 7
    """Child: JSON of `filterzoo.records.Index`."""
    REFUSED = 8
    """Either: JSON {reason, detail, where, plugin}, the fields of `filterzoo.errors.Refused`."""
    PACKED = 10
    """Child: JSON of `filterzoo.archive.Member`, the model inside an archive, which has to be unpacked first."""
    UNPACK = 11
    """Parent: JSON {member, size, is_remote, cpu_seconds, limit}; with a descriptor as for INDEX."""
    PIECE = 12
    """Child: the next unpacked bytes, in order; empty at the end."""
    WILL_READ = 13
    """Child: JSON [byte ranges, side], every [offset, length] it will read of a remote file; answered with an empty
    DATA.
    """
    UNPREPARED = 14
    """Child: JSON name of the file's format, which is not prepared: the file must be read in a new child."""


class ConnectionClosed(Exception):  # named after the event, since no caller treats it as its own error
    """Raised when the other side has closed the connection."""


class Wire:
    """One end of the socket between parent and child.

    Every method raises ConnectionClosed when the other side has closed it, TimeoutError when `deadline` has passed.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.deadline: float | None = None
        """`time.monotonic()` by which the exchange must end, whole messages included; None: no limit."""

    def send(self, message: Message, body: bytes, descriptor: int | None = None) -> None:
        """Send one message, and a descriptor with it."""
        self._wait_no_longer()
        header = _HEADER.pack(message, len(body))
        try:
            if descriptor is None:
                self._end.sendall(header)
            else:
                socket.send_fds(self._end, [header], [descriptor])
            self._end.sendall(body)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConnectionClosed from error

    def send_json(self, message: Message, document: Any, descriptor: int | None = None) -> None:
        """Send one message whose body is JSON."""
        self.send(message, encode(document), descriptor)

    def receive(self) -> tuple[Message, bytes]:
        """The next message and its body; ValueError for an invalid message.

        Descriptors sent with it are not received: the kernel closes them.
        """
        return self._receive(self._receive_exactly(_HEADER.size))

    def receive_with_descriptor(self) -> tuple[Message, bytes, int | None]:
        """The next message, its body and the descriptor sent with it."""
        try:
            header, descriptors, _flags, _address = socket.recv_fds(self._end, _HEADER.size, 1)
        except ConnectionResetError as error:
            raise ConnectionClosed from error
        if not header:
            raise ConnectionClosed
        header += self._receive_exactly(_HEADER.size - len(header))
        return *self._receive(header), (descriptors[0] if descriptors else None)

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def _receive(self, header: bytes) -> tuple[Message, bytes]:
        kind, length = _HEADER.unpack(header)
        if length > MAX_BODY:
            raise ValueError(f"a message of {length} bytes")
        return Message(kind), self._receive_exactly(length)

    def _receive_exactly(self, length: int) -> bytes:
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            self._wait_no_longer()
            try:
                count = self._end.recv_into(view)
            except ConnectionResetError as error:
                raise ConnectionClosed from error
            if count == 0:
                raise ConnectionClosed
            view = view[count:]
        return bytes(buffer)

    def _wait_no_longer(self) -> None:
        """Set the next call's timeout to the remaining time: receiving single bytes does not extend the deadline."""
        if self.deadline is None:
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._end.settimeout(left)


def encode(document: Any) -> bytes:
    """JSON in ASCII; records become objects, field by field.

    TypeError or ValueError for values JSON cannot represent.
    """
    return json.dumps(document, default=_fields).encode()


def encode_refusal(refusal: Refused) -> bytes:
    """The body of REFUSED."""
    return encode({name: getattr(refusal, name) for name in ("reason", "detail", "where", "plugin")})


def _fields(record: Any) -> dict[str, Any]:
    """`dataclasses.asdict`, one level deep: deep copies would dominate the cost of encoding a table."""
    if not dataclasses.is_dataclass(record):
        raise TypeError(f"a {type(record).__name__} is no record")
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
