"""The parent's side of the jail: keeps one child running, sends it files, and validates its tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any, Self

from filterzoo.archive import Member
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile, RandomAccessFile
from filterzoo.jail.answers import Answers
from filterzoo.jail.limits import JailLimits
from filterzoo.jail.messages import ConnectionClosed, Message
from filterzoo.jail.process import Child, Killed, NotIsolated
from filterzoo.jail.tables import NO_MESSAGE, RecordParser, document
from filterzoo.jail.validation import validate
from filterzoo.records import Index
from filterzoo.references import PluginReference

_INDEX = RecordParser(Index)
_MEMBER = RecordParser(Member)


class Jail:
    """One running child, for one thread.

    `index` takes file after file; the child is replaced after any irregularity.
    """

    def __init__(self, formats: Sequence[PluginReference], limits: JailLimits | None = None) -> None:
        self._formats = formats
        self._limits = limits or JailLimits()
        self._child: Child | None = None
        self._is_isolated = True
        self._prepared: set[str] = set()
        """Formats of previous files: each later child prepares them."""
        self._files_of_child = 0

    def start(self) -> None:
        """Start a child now, if there is none, without waiting for it, so that the first file need not wait."""
        if self._child is None:
            self._child = Child(self._formats, self._limits, self._prepared, is_isolated=self._is_isolated)
            self._files_of_child = 0

    @property
    def confinement(self) -> list[str]:
        """Names of the layers of the jail that are active on this machine (`filterzoo.jail.confinement`)."""
        return self._warm_child().confinement

    @property
    def process_id(self) -> int:
        """Process id of the child that takes the next file."""
        return self._warm_child().process_id

    def index(self, file: RandomAccessFile, name: str) -> Index:
        """The file's table, validated. Refused with the child's reason, or with limit, crashed or plugin_error."""
        found = self.look(file, name)
        if isinstance(found, Member):
            raise Refused(Reason.UNSUPPORTED, "the model inside the archive has to be unpacked first", found.name[:200])
        return found

    def look(
        self, file: RandomAccessFile, name: str, member: str | None = None, *, all_tensors: bool = False
    ) -> Index | Member:
        """As `index`; for an archive, the table of its model, or of the one called `member`.

        all_tensors: the table also lists every named array (`Index.tensors`).

        Returns a Member if the model is compressed: `unpack` it, then index the result. A limit or crash in a child
        that has read other files before counts only if a new child repeats it, so that one file does not affect the
        next. A kill in any child counts only if a new child repeats it, because another process may have caused it.
        """
        request = {"name": name, "member": member, "all_tensors": all_tensors}
        self._warm_child()
        has_had_files = self._files_of_child > 0
        try:
            found = self._look(file, request)
        except Refused as refusal:
            if not isinstance(refusal, Killed) and (
                not has_had_files or refusal.reason not in {Reason.LIMIT, Reason.CRASHED}
            ):
                raise
            self.close()
            found = self._look(file, request)
        if isinstance(found, Index):
            validate(found, file.size)
        else:
            file.check_bounds(found.offset, found.length)
        return found

    def _look(self, file: RandomAccessFile, request: dict[str, Any]) -> Index | Member:
        while True:
            with self._busy_child() as child:
                found: Index | Member | _Unprepared = self._converse(
                    child, file, Message.INDEX, request, self._limits.cpu_seconds_for(file.size)
                )
            if not isinstance(found, _Unprepared):
                return found
            self._prepared.add(found.format)

    def unpack_limit(self, member: Member) -> int:
        """Most bytes that a file's member and the members inside it may unpack to."""
        return self._limits.unpack_limit(member.length)

    def unpack(self, file: RandomAccessFile, member: Member, sink: IO[bytes], most: int | None = None) -> int:
        """Write the unpacked bytes of a member to `sink`, at most `most`; returns their number.

        Refused (limit, damaged) by `JailLimits`, (limit) if the disk is full, and (crashed) if the child died; after a
        kill a second child tries, as in `look`.
        """
        start = sink.tell()
        with contextlib.suppress(Killed):
            return self._unpack(file, member, sink, most)
        sink.seek(start)
        sink.truncate()
        return self._unpack(file, member, sink, most)

    def _unpack(self, file: RandomAccessFile, member: Member, sink: IO[bytes], most: int | None) -> int:
        limit = self._limits.unpack_limit(member.length)
        limit = limit if most is None else min(limit, most)
        request = {"member": asdict(member), "limit": limit}
        file.will_read([(member.offset, member.length)])
        output = _Sink(sink, limit)
        with self._busy_child() as child:
            seconds = self._limits.unpack_seconds_for(member.length)
            found = self._converse(child, file, Message.UNPACK, request, seconds, sink=output)
        if found is not None:
            raise Refused(Reason.CRASHED, NO_MESSAGE)
        output.flush()
        return output.size

    @contextlib.contextmanager
    def _busy_child(self) -> Iterator[Child]:
        """The running child, for one file; it is replaced afterwards if it cannot take another."""
        child = self._warm_child()
        self._files_of_child += 1
        child.is_waiting = False
        try:
            yield child
        finally:
            if not child.is_waiting or self._files_of_child >= self._limits.files_per_child:
                self.close()

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
        if self._child is not None and self._child.is_ready and not self._child.is_alive:
            self.close()
        try:
            return self._ready_child()
        except NotIsolated:
            self.close()
            self._is_isolated = False
            return self._ready_child()

    def _ready_child(self) -> Child:
        self.start()
        child = self._child
        if child is None:
            raise RuntimeError("the jail was closed while it started")
        if not child.is_ready:
            try:
                child.await_ready()
            except BaseException:
                self.close()
                raise
        return child

    def _converse(
        self,
        child: Child,
        file: RandomAccessFile,
        message: Message,
        request: dict[str, Any],
        seconds: int,
        *,
        sink: _Sink | None = None,
    ) -> Any:
        """Send the file and answer the child's requests until its final message; unpacked bytes go to `sink`."""
        child.allow(seconds)
        request |= {"size": file.size, "is_remote": file.is_remote, "cpu_seconds": seconds}
        descriptor = file.descriptor if isinstance(file, LocalFile) else None
        try:
            child.wire.send_json(message, request, descriptor)
            with Answers(file, child.wire, self._limits) as answers:
                while True:
                    reply, body = _receive(child)
                    if reply is Message.PIECE and sink is not None:
                        if not body:
                            child.is_waiting = True
                            return None
                        sink.take(body)
                    elif reply in {Message.TABLE, Message.PACKED}:
                        return _result(child, reply, body)
                    elif reply is Message.UNPREPARED:
                        return self._unprepared(child, document(body))
                    elif not answers.give(reply, request_body := document(body)):
                        raise _conclusion(child, reply, request_body, answers.reasons)
        except ConnectionClosed:
            raise child.death(seconds) from None
        except TimeoutError:
            raise Refused(Reason.LIMIT, f"reading took longer than {self._limits.patience * seconds} s") from None

    def _unprepared(self, child: Child, name: object) -> _Unprepared:
        if not isinstance(name, str) or name not in child.formats - self._prepared:
            raise Refused(Reason.CRASHED, NO_MESSAGE)
        return _Unprepared(name)


@dataclass(frozen=True, slots=True)
class _Unprepared:
    """The child's reply that the file is of a format whose libraries were not loaded; another child has to."""

    format: str


class _Sink:
    """The sink of unpacked bytes, counted by the parent as well."""

    def __init__(self, sink: IO[bytes], limit: int) -> None:
        self.size = 0
        self._sink = sink
        self._limit = limit

    def take(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._limit:
            raise Refused(Reason.CRASHED, "the jail unpacked more than it was allowed to")
        with self._disk_limit():
            self._sink.write(piece)

    def flush(self) -> None:
        with self._disk_limit():
            self._sink.flush()

    @contextlib.contextmanager
    def _disk_limit(self) -> Iterator[None]:
        """A disk that this file fills is a limit of the file, not of the run."""
        try:
            yield
        except OSError as error:
            detail = f"no room to unpack it, after {self.size} bytes: {error.strerror}"
            raise Refused(Reason.LIMIT, detail) from error


def _receive(child: Child) -> tuple[Message, bytes]:
    try:
        return child.wire.receive()
    except ValueError:
        raise Refused(Reason.CRASHED, NO_MESSAGE) from None


def _result(child: Child, message: Message, body: bytes) -> Index | Member:
    """The child's final message about a readable file."""
    found: Index | Member = (_INDEX if message is Message.TABLE else _MEMBER).read(body)
    if isinstance(found, Index) and found.format not in child.formats:
        raise Refused(Reason.CRASHED, f"the jail names a format it has not loaded: {found.format[:80]!r}")
    child.is_waiting = True
    return found


def _conclusion(child: Child, message: Message, document: Any, sent: set[Reason]) -> Refused:
    """The refusal in any other final message; an invalid message counts as a crash, and the child is replaced."""
    match message, document:
        case (
            Message.REFUSED,
            {"reason": str(reason), "detail": str(detail), "where": str() | None as where, "plugin": plugin},
        ) if (plugin is None or plugin in child.plugins) and _may_say(reason, sent):
            # A child that has reached one limit is close to others.
            child.is_waiting = Reason(reason) is not Reason.LIMIT
            return Refused(Reason(reason), detail, where, plugin)
        case _:
            return Refused(Reason.CRASHED, NO_MESSAGE)


def _may_say(name: str, sent: set[Reason]) -> bool:
    """Whether the child may give this reason: reasons about licences and owners only if the parent sent them to it."""
    return name in set(Reason) and (not Reason(name).is_skip or Reason(name) in sent)
