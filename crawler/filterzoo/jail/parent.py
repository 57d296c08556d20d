"""The parent's side of the jail: keeps one child warm, hands it files, and believes only what fits the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from filterzoo.errors import PluginFailed, Reason, Refused
from filterzoo.files import LocalFile, RandomAccessFile
from filterzoo.jail.answers import Answers
from filterzoo.jail.limits import Limits
from filterzoo.jail.messages import ConnectionClosed, Message, encode
from filterzoo.jail.process import Child
from filterzoo.jail.validation import validate
from filterzoo.records import Index
from filterzoo.references import PluginReference

_TABLE = TypeAdapter(Index)


class Jail:
    """One warm child, for one thread. `index` takes file after file; the child is replaced when anything was off."""

    def __init__(self, formats: Sequence[PluginReference], limits: Limits | None = None) -> None:
        self._formats = formats
        self._limits = limits or Limits()
        self._child: Child | None = None
        self._files_of_child = 0

    @property
    def confinement(self) -> list[str]:
        """Names of the layers of the jail that are active on this machine (`filterzoo.jail.confinement`)."""
        return self._warm_child().confinement

    @property
    def process_id(self) -> int:
        """Of the child that takes the next file, as things stand."""
        return self._warm_child().process_id

    def index(self, file: RandomAccessFile, name: str) -> Index:
        """The file's table, validated. Refused with the child's reason, or limit, crashed or plugin_error."""
        child = self._warm_child()
        self._files_of_child += 1
        child.is_waiting = False
        try:
            index = self._converse(child, file, name)
        finally:
            if not child.is_waiting or self._files_of_child >= self._limits.files_per_child:
                self.close()
        validate(index, file.size)
        return index

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.close()

    def _warm_child(self) -> Child:
        if self._child is not None and not self._child.is_alive:
            self.close()
        if self._child is None:
            self._child = Child(self._formats, self._limits)
            self._files_of_child = 0
        return self._child

    def _converse(self, child: Child, file: RandomAccessFile, name: str) -> Index:
        """Hand the file in and answer the child's questions until it has a table or a refusal."""
        seconds = self._limits.cpu_seconds_for(file.size)
        child.allow(seconds)
        request = {"name": name, "size": file.size, "is_remote": file.is_remote, "cpu_seconds": seconds}
        descriptor = file.descriptor if isinstance(file, LocalFile) else None
        try:
            child.wire.send_json(Message.INDEX, request, descriptor)
            with Answers(file, child.wire, self._limits) as answers:
                while True:
                    message, document = _hear(child)
                    if not answers.give(message, document):
                        return _conclude(child, message, document, answers.reasons)
        except ConnectionClosed:
            raise child.death(seconds) from None
        except TimeoutError:
            raise Refused(Reason.LIMIT, f"indexing took longer than {self._limits.patience * seconds} s") from None


_NO_MESSAGE = "the jail sent something that is no message"


def _hear(child: Child) -> tuple[Message, Any]:
    try:
        message, body = child.wire.receive()
        return message, json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(Reason.CRASHED, _NO_MESSAGE) from None


def _conclude(child: Child, message: Message, document: Any, told: set[Reason]) -> Index:
    """The child's last word on a file. What does not look like one is answered as a crash: the child is replaced."""
    match message, document:
        case Message.TABLE, dict():
            index = _believe(document)
            if index.format not in child.formats:
                raise Refused(Reason.CRASHED, f"the jail names a format it has not loaded: {index.format[:80]!r}")
            child.is_waiting = True
            return index
        case Message.REFUSED, {"reason": str(reason), "detail": str(detail), "where": str() | None as where}:
            raise _refusal(child, reason, detail, where, told)
        case Message.FAILED, {"plugin": str(plugin), "error": str(error)} if plugin in child.plugins:
            child.is_waiting = True
            raise PluginFailed(plugin, error)
        case _:
            raise Refused(Reason.CRASHED, _NO_MESSAGE)


def _refusal(child: Child, name: str, detail: str, where: str | None, told: set[Reason]) -> Refused:
    """A refusal in the child's words. Only the parent knows of licences and owners: such a reason must be its own."""
    if name not in set(Reason) or (Reason(name).is_skip and Reason(name) not in told):
        return Refused(Reason.CRASHED, _NO_MESSAGE)
    # After one limit was met the next is near.
    child.is_waiting = Reason(name) is not Reason.LIMIT
    return Refused(Reason(name), detail, where)


def _believe(document: dict[str, Any]) -> Index:
    try:
        return _TABLE.validate_json(encode(document), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Refused(Reason.MALFORMED, f"the table from the jail is wrong: {first['msg']}", place[:200]) from None
