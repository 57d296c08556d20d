"""Framed messages between the jail's parent and child: a kind, a length, a body. No pickle crosses this line."""

from __future__ import annotations

import json
import socket
import struct
from enum import IntEnum
from typing import Any

MAX_BODY = 64 << 20
"""Bytes of the largest message either side accepts."""

_HEADER = struct.Struct(">BI")


class Message(IntEnum):
    """Who says it, and what its body is."""

    SETUP = 1
    """Parent: JSON, the format plugins to load."""
    READY = 2
    """Child: JSON, the formats it loaded, the confinement that is active."""
    INDEX = 3
    """Parent: JSON {name, size}; a file descriptor comes along when the file is local."""
    READ = 4
    """Child: JSON [offset, length, side], bytes it wants of a file it has no descriptor of."""
    SIZE = 5
    """Child: JSON name of a side file, whose size it wants."""
    DATA = 6
    """Parent: the bytes asked for, or JSON for a size."""
    TABLE = 7
    """Child: JSON of `filterzoo.records.Index`."""
    REFUSED = 8
    """Either: JSON {reason, detail, where}."""
    FAILED = 9
    """Child: JSON {format, error}, a format plugin raised something that is not a refusal."""


class ConnectionClosed(Exception):  # it is what happened, and no caller treats it as a fault of its own
    """Raised when the other side is gone."""


def send(line: socket.socket, message: Message, body: bytes | memoryview, descriptor: int | None = None) -> None:
    """Send one message; ConnectionClosed when nobody listens."""
    header = _HEADER.pack(message, len(body))
    try:
        if descriptor is None:
            line.sendall(header)
        else:
            socket.send_fds(line, [header], [descriptor])
        line.sendall(body)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ConnectionClosed from error


def send_json(line: socket.socket, message: Message, document: Any, descriptor: int | None = None) -> None:
    """Send one message whose body is JSON."""
    send(line, message, json.dumps(document).encode(), descriptor)


def receive(line: socket.socket) -> tuple[Message, bytes, int | None]:
    """The next message, its body and the descriptor that came along; ConnectionClosed at the end of the line.

    TimeoutError when the socket has a timeout and nothing came in time; ValueError for bytes that are no message.
    """
    header, descriptor = _receive_header(line)
    kind, length = _HEADER.unpack(header)
    if length > MAX_BODY:
        raise ValueError(f"a message of {length} bytes")
    return Message(kind), _receive_exactly(line, length), descriptor


def _receive_header(line: socket.socket) -> tuple[bytes, int | None]:
    try:
        header, descriptors, _flags, _address = socket.recv_fds(line, _HEADER.size, 1)
    except ConnectionResetError as error:
        raise ConnectionClosed from error
    if not header:
        raise ConnectionClosed
    header += _receive_exactly(line, _HEADER.size - len(header))
    return header, (descriptors[0] if descriptors else None)


def _receive_exactly(line: socket.socket, length: int) -> bytes:
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        try:
            count = line.recv_into(view)
        except ConnectionResetError as error:
            raise ConnectionClosed from error
        if count == 0:
            raise ConnectionClosed
        view = view[count:]
    return bytes(buffer)
