"""Answers the child's requests: bytes of the artifact and of its side files, within limits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from filterzoo.errors import Reason, Refused, describe
from filterzoo.files import RandomAccessFile, check_side_name
from filterzoo.jail.limits import JailLimits
from filterzoo.jail.messages import Message, Wire, encode, encode_refusal

READ_TWICE = 2
"""The bytes that may be read for an index: this multiple of the size of the file and its side files ..."""
READ_FREE = 1 << 30
"""... plus this many, because formats read in small steps."""


class Answers:
    """Answers one child's requests for one artifact. Side files are closed at the end.

    A permanent refusal of a side file is passed on to the child, which may continue without it. A transient one (a
    network failure) is raised here, so that no table describes an incomplete file.
    """

    def __init__(self, file: RandomAccessFile, wire: Wire, limits: JailLimits) -> None:
        self._file = file
        self._wire = wire
        self._limits = limits
        self._questions = 0
        self._announced = 0
        self._read_bytes = 0
        self._io_seconds = 0.0
        self._sides: dict[str, RandomAccessFile] = {}
        self._open_sides = contextlib.ExitStack()
        self.reasons: set[Reason] = set()
        """Reasons of the refusals that were passed to the child."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._open_sides.close()

    def give(self, message: Message, question: Any) -> bool:
        """Answer a request; False if the message is not a request."""
        match message, question:
            case Message.READ, [int(offset), int(length), str() | None as side]:
                self._answer(lambda: self._read(offset, length, side))
            case Message.WILL_READ, [list(byte_ranges), str() | None as side]:
                self._answer(lambda: self._announce(byte_ranges, side))
            case Message.SIDE, str(name):
                self._answer(lambda: self._describe_side(name))
            case Message.READ | Message.WILL_READ | Message.SIDE, _:
                raise Refused(Reason.CRASHED, "the jail sent a malformed request")
            case _:
                return False
        return True

    def _answer(self, give: Callable[[], bytes]) -> None:
        self._questions += 1
        if self._questions > self._limits.questions:
            raise Refused(Reason.LIMIT, f"the index wants more than {self._limits.questions} reads")
        self._io_seconds = 0.0
        answer, body = Message.DATA, b""
        try:
            body = give()
        except Refused as refusal:
            if refusal.reason.is_transient or refusal.reason is Reason.LIMIT:
                raise
            self.reasons.add(refusal.reason)
            answer, body = Message.REFUSED, encode_refusal(refusal)
        except Exception as error:  # a source's file may raise anything: the refusal names it, and the run goes on
            raise Refused(Reason.PLUGIN_ERROR, f"reading the file raised {describe(error)}") from error
        if self._wire.deadline is not None:
            self._wire.deadline += self._io_seconds
        self._wire.send(answer, body)

    def _read(self, offset: int, length: int, side: str | None) -> bytes:
        if length > self._limits.read_bytes:
            raise Refused(Reason.LIMIT, f"the index wants {length} bytes at once")
        file = self._file if side is None else self._side(side)
        file.check_bounds(offset, length)
        self._read_bytes += length
        sizes = self._file.size + sum(each.size for each in self._sides.values())
        if self._read_bytes > READ_TWICE * sizes + READ_FREE:
            raise Refused(Reason.LIMIT, "the index wants more bytes than the file has, again and again")
        with self._waiting():
            return file.read(offset, length)

    def _announce(self, byte_ranges: list[Any], side: str | None) -> bytes:
        """Prefetch the announced ranges, unless they exceed what may be read at once."""
        self._announced += len(byte_ranges)
        if self._announced > self._limits.announced:
            raise Refused(Reason.LIMIT, f"the index announces more than {self._limits.announced} reads")
        wanted: list[tuple[int, int]] = []
        for byte_range in byte_ranges:
            match byte_range:
                case [int(offset), int(length)] if length >= 0:
                    wanted.append((offset, length))
                case _:
                    raise Refused(Reason.CRASHED, "the jail announced something that cannot be read")
        file = self._file if side is None else self._side(side)
        if sum(length for _, length in wanted) <= self._limits.read_bytes:
            file.will_read(wanted)
        return b""

    def _describe_side(self, name: str) -> bytes:
        side = self._side(name)
        return encode({"size": side.size, "is_remote": side.is_remote})

    def _side(self, name: str) -> RandomAccessFile:
        if name not in self._sides:
            check_side_name(name)
            if len(self._sides) >= self._limits.sides:
                raise Refused(Reason.LIMIT, f"the index wants more than {self._limits.sides} files beside it")
            with self._waiting():
                self._sides[name] = self._open_sides.enter_context(self._file.beside(name))
        return self._sides[name]

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Stop the child's clock while the parent waits for a disk or a server."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._io_seconds += time.monotonic() - begin
