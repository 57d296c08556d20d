"""The jail's child: loads the format plugins, gives up its rights, then indexes one file after another.

Started as `python -I -m filterzoo.jail.child DESCRIPTOR`. It never imports torch and never sees a path.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pluggy

from filterzoo import hooks
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, check_plain_name
from filterzoo.format import HEAD_BYTES, Format
from filterzoo.jail.confinement import confine
from filterzoo.jail.messages import ConnectionClosed, Message, receive, send_json
from filterzoo.records import Index, Tensor
from filterzoo.references import PluginReference
from filterzoo.selection import select

MAX_TENSORS = 1_000_000
"""Most named arrays of one file."""


class DescriptorFile(RandomAccessFile):
    """A local file, through the descriptor the parent sent; its side files go through the parent."""

    def __init__(self, descriptor: int, size: int, line: socket.socket) -> None:
        self.size = size
        self._descriptor = descriptor
        self._line = line

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
        return RelayedFile.beside_artifact(name, self._line)

    def close(self) -> None:
        """See `RandomAccessFile.close`."""
        os.close(self._descriptor)


class RelayedFile(RandomAccessFile):
    """A file whose bytes the parent fetches: a remote one, or one beside the artifact."""

    def __init__(self, size: int, line: socket.socket, side: str | None = None) -> None:
        self.size = size
        self._line = line
        self._side = side

    @classmethod
    def beside_artifact(cls, name: str, line: socket.socket) -> RelayedFile:
        """The side file of that name, whose size the parent tells."""
        check_plain_name(name)
        return cls(int(_ask(line, Message.SIZE, name)), line, name)

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        return _ask(self._line, Message.READ, [offset, length, self._side])

    def beside(self, name: str) -> RandomAccessFile:
        """See `RandomAccessFile.beside`."""
        return RelayedFile.beside_artifact(name, self._line)


def _ask(line: socket.socket, message: Message, question: Any) -> bytes:
    send_json(line, message, question)
    answer, body, _descriptor = receive(line)
    if answer is Message.REFUSED:
        refusal = json.loads(body)
        raise Refused(Reason(refusal["reason"]), refusal["detail"], refusal["where"])
    return body


class _FormatFailed(Exception):
    """A format plugin raised something that is not a refusal."""

    def __init__(self, format_name: str, error: Exception) -> None:
        super().__init__(format_name, error)
        self.format_name = format_name
        self.error = error


def load_formats(module_names: Iterable[tuple[str, str, str]]) -> list[Format]:
    """The formats of the plugins the parent names, in its order."""
    formats: list[Format] = []
    for name, module, file in module_names:
        manager = pluggy.PluginManager(hooks.PROJECT)
        manager.add_hookspecs(hooks)
        manager.register(PluginReference(name, module, file).load(), name)
        formats.extend(format_ for group in manager.hook.filterzoo_formats() for format_ in group)
    return formats


def index_file(formats: Iterable[Format], file: RandomAccessFile, name: str) -> Index:
    """Find the file's format by its first bytes, list its tensors and keep the convolutions."""
    head = file.read(0, min(HEAD_BYTES, file.size))
    format_ = _find_format(formats, head, name)
    try:
        tensors = _bounded(format_.index(file))
        facts = format_.facts(file)
    except (Refused, MemoryError, RecursionError, ConnectionClosed):
        raise
    except Exception as error:  # a plugin may raise anything; it is named and the run goes on
        raise _FormatFailed(format_.name, error) from error
    chosen = (
        tuple(tensor for tensor in tensors if tensor.convolution is not None) if format_.is_graph else select(tensors)
    )
    for tensor in chosen:
        _check_name(tensor)
    return Index(format=format_.name, facts=facts, tensor_count=len(tensors), convolutions=chosen)


def _find_format(formats: Iterable[Format], head: bytes, name: str) -> Format:
    failure: _FormatFailed | None = None
    for format_ in formats:
        try:
            if format_.accepts(head, name):
                return format_
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything; the others are asked on
            failure = failure or _FormatFailed(format_.name, error)
    if failure:
        raise failure
    raise Refused(Reason.UNKNOWN_FORMAT, _describe_head(head))


def _describe_head(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head.lstrip()[:1] == b"<":
        return "the file is an HTML or XML page, no model"
    if head.startswith(b"version https://git-lfs"):
        return "the file is a git-LFS pointer, not the model it points to"
    return f"no format knows a file that starts with {head[:8].hex(' ')}"


def _bounded(tensors: Iterable[Tensor]) -> list[Tensor]:
    listed: list[Tensor] = []
    for tensor in tensors:
        if len(listed) >= MAX_TENSORS:
            raise Refused(Reason.LIMIT, f"more than {MAX_TENSORS} tensors")
        listed.append(tensor)
    return listed


def _check_name(tensor: Tensor) -> None:
    try:
        (tensor.name + tensor.section).encode()
    except UnicodeEncodeError:
        raise Refused(Reason.MALFORMED, "a tensor's name is not valid Unicode", ascii(tensor.name)[:80]) from None


def answer(line: socket.socket, formats: list[Format], request: dict[str, Any], descriptor: int | None) -> None:
    """Index one file and send what came of it."""
    size = request["size"]
    file = RelayedFile(size, line) if descriptor is None else DescriptorFile(descriptor, size, line)
    try:
        with file:
            index = index_file(formats, file, request["name"])
        table = asdict(index)
        send_json(line, Message.TABLE, {"index": table, "cpu": time.process_time()})
    except Refused as refusal:
        _send_refusal(line, refusal)
    except MemoryError:
        _send_refusal(line, Refused(Reason.LIMIT, "indexing needs more memory than the jail allows"))
    except RecursionError:
        _send_refusal(line, Refused(Reason.LIMIT, "the file is nested too deeply"))
    except _FormatFailed as failure:
        error = f"{type(failure.error).__name__}: {failure.error}"
        send_json(line, Message.FAILED, {"format": failure.format_name, "error": error})


def _send_refusal(line: socket.socket, refusal: Refused) -> None:
    document = {"reason": refusal.reason, "detail": refusal.detail, "where": refusal.where}
    send_json(line, Message.REFUSED, document)


def main() -> None:
    """Serve the parent until it closes the line."""
    line = socket.socket(fileno=int(sys.argv[1]))
    try:
        _message, body, _descriptor = receive(line)
        formats = load_formats(json.loads(body))
        active = confine()
        send_json(line, Message.READY, {"confinement": active, "cpu": time.process_time()})
        while True:
            _message, body, descriptor = receive(line)
            answer(line, formats, json.loads(body), descriptor)
    except ConnectionClosed:
        return


if __name__ == "__main__":
    main()
