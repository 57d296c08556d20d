"""The jail's child: loads the format plugins, gives up its rights, then indexes one file after another.

Started as `python -I -m filterzoo.jail.child DESCRIPTOR`. It never imports torch and never sees a path.
"""

from __future__ import annotations

import codecs
import json
import resource
import socket
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pluggy

from filterzoo import hooks
from filterzoo.errors import Reason, Refused, describe
from filterzoo.files import RandomAccessFile
from filterzoo.format import HEAD_BYTES, Format
from filterzoo.jail.confinement import allow_cpu_time, confine
from filterzoo.jail.given_files import DescriptorFile, RelayedFile
from filterzoo.jail.messages import MAX_BODY, ConnectionClosed, Message, Wire, encode
from filterzoo.records import Index, Tensor
from filterzoo.references import PluginReference
from filterzoo.selection import select

MAX_TENSORS = 1_000_000
"""Most named arrays of one file."""
ENCODINGS = ("ascii", "utf-8", "latin-1", "cp437", "raw-unicode-escape", "unicode-escape", "utf-16-le", "utf-32-le")
"""Looked up before the file system is out of reach, since Python loads codecs from files."""

_PLUGIN_ERRORS = (Exception, SystemExit)
"""What a plugin may raise: anything but the parent's wish to end."""


class _PluginFailed(Exception):
    """A format plugin raised something that is not a refusal."""

    def __init__(self, plugin: str, what: str, error: BaseException) -> None:
        super().__init__(plugin, what, error)
        self.document = {"plugin": plugin, "error": f"{what} raised {describe(error)}"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A format and the name of the plugin that offers it."""

    plugin: str
    format: Format

    def failed(self, error: BaseException) -> _PluginFailed:
        """The format raised this."""
        return _PluginFailed(self.plugin, f"the format {self.format.name!r}", error)


def load_formats(references: Iterable[PluginReference]) -> tuple[list[Loaded], list[_PluginFailed]]:
    """The formats of the plugins the parent names, in its order, and the plugins that fail here though not there."""
    formats: list[Loaded] = []
    failures: list[_PluginFailed] = []
    for reference in references:
        manager = pluggy.PluginManager(hooks.PROJECT)
        manager.add_hookspecs(hooks)
        try:
            manager.register(reference.load(), reference.name)
            offered = [format_ for group in manager.hook.filterzoo_formats() for format_ in group]
        except _PLUGIN_ERRORS as error:
            failures.append(_PluginFailed(reference.name, f"the plugin {reference.name!r}", error))
        else:
            formats += [Loaded(reference.name, format_) for format_ in offered]
    return formats, failures


class Indexer:
    """Finds a file's format by its first bytes, lists its tensors and keeps the convolutions."""

    def __init__(self, formats: list[Loaded], failures: list[_PluginFailed]) -> None:
        self._formats = formats
        self._failures = failures

    def table(self, file: RandomAccessFile, name: str) -> bytes:
        """The file's Index as JSON; Refused, _PluginFailed, MemoryError or RecursionError where there is none."""
        loaded = self._find_format(file.read(0, min(HEAD_BYTES, file.size)), name)
        format_ = loaded.format
        try:
            tensors = _bounded(format_.index(file))
            chosen = tuple(t for t in tensors if t.convolution is not None) if format_.is_graph else select(tensors)
            for tensor in chosen:
                _check_name(tensor)
            index = Index(
                format=format_.name, facts=format_.facts(file), tensor_count=len(tensors), convolutions=chosen
            )
            table = encode(asdict(index))
        except (Refused, MemoryError, RecursionError, ConnectionClosed):
            raise
        except _PLUGIN_ERRORS as error:  # a plugin may raise anything; it is named and the run goes on
            raise loaded.failed(error) from error
        if len(table) > MAX_BODY:
            raise Refused(Reason.LIMIT, f"a table of {len(table)} bytes")
        return table

    def _find_format(self, head: bytes, name: str) -> Loaded:
        failures = list(self._failures)
        for loaded in self._formats:
            try:
                if loaded.format.accepts(head, name):
                    return loaded
            except _PLUGIN_ERRORS as error:  # a plugin may raise anything; the others are asked on
                failures.append(loaded.failed(error))
        if failures:
            raise failures[0]
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


def outcome(indexer: Indexer, file: RandomAccessFile, name: str) -> tuple[Message, bytes]:
    """What to tell the parent of one file."""
    try:
        with file:
            return Message.TABLE, indexer.table(file, name)
    except Refused as refusal:
        return _refused(refusal)
    except _PluginFailed as failure:
        return Message.FAILED, encode(failure.document)
    except RecursionError:
        return _TOO_DEEP
    except MemoryError:
        return _TOO_LARGE


def _refused(refusal: Refused) -> tuple[Message, bytes]:
    document = {"reason": refusal.reason, "detail": refusal.detail, "where": refusal.where}
    return Message.REFUSED, encode(document)


# Made beforehand: when memory is short there is none for an answer.
_TOO_DEEP = _refused(Refused(Reason.LIMIT, "the file is nested too deeply"))
_TOO_LARGE = _refused(Refused(Reason.LIMIT, "indexing needs more memory than the jail allows"))


def serve(wire: Wire, indexer: Indexer) -> None:
    """Index what the parent hands in, until it closes the line (ConnectionClosed)."""
    while True:
        _message, body, descriptor = wire.receive_with_descriptor()
        request: dict[str, Any] = json.loads(body)
        if not hasattr(resource, "prlimit"):
            allow_cpu_time(request["cpu_seconds"])
        size, is_remote = request["size"], request["is_remote"]
        if descriptor is None:
            file: RandomAccessFile = RelayedFile(wire, size, is_remote=is_remote)
        else:
            file = DescriptorFile(wire, size, descriptor)
        wire.send(*outcome(indexer, file, request["name"]))


def main() -> None:
    """Serve the parent until it closes the line."""
    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    try:
        _message, body = wire.receive()
        setup = json.loads(body)
        formats, failures = load_formats(PluginReference(*plugin) for plugin in setup["plugins"])
        for encoding in ENCODINGS:
            codecs.lookup(encoding)
        active = confine(setup["memory_bytes"])
        wire.send_json(Message.READY, {"confinement": active, "formats": [loaded.format.name for loaded in formats]})
        serve(wire, Indexer(formats, failures))
    except ConnectionClosed:
        return


if __name__ == "__main__":
    main()
