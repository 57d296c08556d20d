"""The jail's child process: loads the format plugins, drops its privileges, then indexes one file after another.

Started as `python -I -m filterzoo.jail.child DESCRIPTOR`. It never imports torch and never sees a path.
"""

from __future__ import annotations

import codecs
import json
import resource
import socket
import sys
from typing import Any

from filterzoo.archive import Member, Packing
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.jail.confinement import allow_cpu_time, confine
from filterzoo.jail.given_files import DescriptorFile, RelayedFile
from filterzoo.jail.indexing import Indexer, IndexRequest, Unprepared, load_readers
from filterzoo.jail.messages import ConnectionClosed, Message, Wire, encode, encode_refusal
from filterzoo.jail.unpacking import unpack
from filterzoo.references import PluginReference

ENCODINGS = ("ascii", "utf-8", "latin-1", "cp437", "raw-unicode-escape", "unicode-escape", "utf-16-le", "utf-32-le")
"""Loaded before file access is dropped, because Python imports codecs from files."""


def work(wire: Wire, indexer: Indexer, message: Message, request: dict[str, Any], file: RandomAccessFile) -> None:
    """Carry out the parent's request for a file, and send the result."""
    try:
        with file:
            if message is Message.UNPACK:
                member = request["member"] | {"packing": Packing(request["member"]["packing"])}
                for piece in unpack(file, Member(**member), request["limit"]):
                    if piece:
                        wire.send(Message.PIECE, piece)
                answer, body = Message.PIECE, b""
            else:
                answer, body = indexer.answer(
                    file, IndexRequest(request["name"], request["member"], request["all_tensors"])
                )
    except Refused as refusal:
        answer, body = _refused(refusal)
    except Unprepared as unprepared:
        answer, body = Message.UNPREPARED, encode(unprepared.format)
    except RecursionError:
        answer, body = _TOO_DEEP
    except MemoryError:
        answer, body = _TOO_LARGE
    wire.send(answer, body)


def _refused(refusal: Refused) -> tuple[Message, bytes]:
    return Message.REFUSED, encode_refusal(refusal)


# Built in advance, because it cannot be built when memory runs out.
_TOO_DEEP = _refused(Refused(Reason.LIMIT, "the file is nested too deeply"))
_TOO_LARGE = _refused(Refused(Reason.LIMIT, "indexing needs more memory than the jail allows"))


def serve(wire: Wire, indexer: Indexer) -> None:
    """Index or unpack the files that the parent sends, until it closes the connection (ConnectionClosed)."""
    while True:
        message, body, descriptor = wire.receive_with_descriptor()
        request: dict[str, Any] = json.loads(body)
        if not hasattr(resource, "prlimit"):
            allow_cpu_time(request["cpu_seconds"])
        size, is_remote = request["size"], request["is_remote"]
        if descriptor is None:
            file: RandomAccessFile = RelayedFile(wire, size, is_remote=is_remote)
        else:
            file = DescriptorFile(wire, size, descriptor)
        work(wire, indexer, message, request, file)


def _reference(plugin: list[str]) -> PluginReference:
    name, module, file = plugin
    return PluginReference(name, module, file)


def main() -> None:
    """Serve the parent until it closes the connection."""
    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    try:
        _message, body = wire.receive()
        setup = json.loads(body)
        readers, failures = load_readers(map(_reference, setup["plugins"]), setup["prepared"])
        for encoding in ENCODINGS:
            codecs.lookup(encoding)
        active = confine(setup["memory_bytes"], setup["network"])
        wire.send_json(Message.READY, {"confinement": active, "formats": [loaded.reader.name for loaded in readers]})
        serve(wire, Indexer(readers, failures))
    except ConnectionClosed:
        return


if __name__ == "__main__":
    main()
