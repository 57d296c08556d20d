"""The parent's side of the jail: keeps one child warm, hands it files, and believes only what fits the file."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from math import ceil
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile, RandomAccessFile
from filterzoo.jail.messages import ConnectionClosed, Message, receive, send, send_json
from filterzoo.jail.validation import validate
from filterzoo.records import Index
from filterzoo.references import PluginReference

CPU_SECONDS = 8
"""CPU time a child may spend on one file ..."""
CPU_SECONDS_PER_GIB = 1
"""... and for each GiB of its size on top: a larger model has a longer table."""
FILES_PER_CHILD = 500
"""A child is replaced after so many files, whatever they were."""
MAX_READ = 64 << 20
"""Most bytes a child may ask for at once."""

_TABLE = TypeAdapter(Index)


class Jail:
    """One warm child. `index` may be called for file after file; the child is replaced when anything was off."""

    def __init__(self, formats: Sequence[PluginReference]) -> None:
        self._formats = formats
        self._child: _Child | None = None

    @property
    def confinement(self) -> list[str]:
        """Names of the layers of the jail that are active on this machine (`filterzoo.jail.confinement`)."""
        return self._warm_child().confinement

    def index(self, file: RandomAccessFile, name: str) -> Index:
        """The file's table, validated. Refused with the child's reason, or limit, crashed or plugin_error."""
        child = self._warm_child()
        try:
            index = child.index(file, name)
        finally:
            if not child.is_waiting or child.files_indexed >= FILES_PER_CHILD:
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

    def _warm_child(self) -> _Child:
        if self._child is None:
            self._child = _Child(self._formats)
        return self._child


class _Child:
    """A running child process and the line to it."""

    def __init__(self, formats: Sequence[PluginReference]) -> None:
        self._line, theirs = socket.socketpair()
        self._process = subprocess.Popen(  # noqa: S603  # our own module, with our own interpreter
            [sys.executable, "-I", "-m", "filterzoo.jail.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
        )
        theirs.close()
        self.files_indexed = 0
        self.is_waiting = True
        """Whether the child is done with the last file; if not, it is no good for another."""
        send_json(self._line, Message.SETUP, [(f.name, f.module, f.file) for f in formats])
        try:
            _message, body, _descriptor = receive(self._line)
        except ConnectionClosed:
            complaint = self._complaint()
            self.close()
            raise Refused(Reason.CRASHED, f"the jail did not start: {complaint}") from None
        ready = json.loads(body)
        self.confinement: list[str] = ready["confinement"]
        self._cpu_used: float = ready["cpu"]

    def index(self, file: RandomAccessFile, name: str) -> Index:
        self.files_indexed += 1
        self.is_waiting = False
        seconds = CPU_SECONDS + ceil(CPU_SECONDS_PER_GIB * file.size / (1 << 30))
        self._allow_cpu(seconds)
        self._line.settimeout(4 * seconds)
        descriptor = file.descriptor if isinstance(file, LocalFile) else None
        try:
            send_json(self._line, Message.INDEX, {"name": name, "size": file.size}, descriptor)
            with contextlib.ExitStack() as sides:
                return self._converse(file, sides)
        except ConnectionClosed:
            raise self._death(seconds) from None
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(Reason.CRASHED, f"the jail sent something that is no message: {error!r}"[:300]) from None
        except TimeoutError:
            raise Refused(Reason.LIMIT, f"indexing took longer than {4 * seconds} s") from None

    def _converse(self, file: RandomAccessFile, sides: contextlib.ExitStack) -> Index:
        """Answer the child's questions until it has a table or a refusal."""
        opened: dict[str, RandomAccessFile] = {}

        def side_file(name: str) -> RandomAccessFile:
            if name not in opened:
                opened[name] = sides.enter_context(file.beside(name))
            return opened[name]

        while True:
            message, body, _descriptor = receive(self._line)
            document = json.loads(body)
            match message:
                case Message.READ:
                    self._answer_read(file, side_file, document)
                case Message.SIZE:
                    self._answer_size(side_file, document)
                case _:
                    self.is_waiting = True
                    return self._conclude(message, document)

    def _conclude(self, message: Message, document: Any) -> Index:
        """The child's last word on a file."""
        if message is Message.TABLE:
            self._cpu_used = float(document["cpu"])
            return _believe(document["index"])
        if message is Message.REFUSED:
            reason = Reason(document["reason"])
            self.is_waiting = (
                reason is not Reason.LIMIT
            )  # one limit met, the next is near
            raise Refused(reason, document["detail"], document["where"])
        if message is Message.FAILED:
            detail = f"the format {document['format']!r} raised {document['error']}"
            raise Refused(Reason.PLUGIN_ERROR, detail[:2000])
        raise Refused(Reason.CRASHED, "the jail sent a message that only its parent may send")

    def _answer_size(self, side_file: Any, name: Any) -> None:
        self._answer(lambda: str(side_file(_text(name)).size).encode())

    def _answer_read(self, file: RandomAccessFile, side_file: Any, question: Any) -> None:
        offset, length, side = question
        if not (isinstance(offset, int) and isinstance(length, int) and 0 <= length <= MAX_READ):
            raise Refused(Reason.LIMIT, f"the index wants {length} bytes at once")
        self._answer(lambda: (file if side is None else side_file(_text(side))).read(offset, length))

    def _answer(self, give: Any) -> None:
        try:
            data = give()
        except Refused as refusal:
            document = {"reason": refusal.reason, "detail": refusal.detail, "where": refusal.where}
            send_json(self._line, Message.REFUSED, document)
        else:
            send(self._line, Message.DATA, data)

    def _allow_cpu(self, seconds: int) -> None:
        """So much CPU time for the next file; the kernel ends a child that wants more (Linux)."""
        if hasattr(resource, "prlimit"):
            soft = ceil(self._cpu_used) + seconds
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))

    def _death(self, seconds: int) -> Refused:
        """Why the child is gone, as a refusal of the file it was reading."""
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return Refused(Reason.LIMIT, f"indexing needs more than {seconds} s of CPU time")
        return Refused(Reason.CRASHED, f"the process that read the file ended with {code}: {self._complaint()}")

    def _complaint(self) -> str:
        """The last line the child wrote to its error stream."""
        errors = self._process.stderr
        lines = errors.read().decode("utf-8", "replace").strip().splitlines() if errors else []
        return ascii(lines[-1])[:300] if lines else "it said nothing"

    def close(self) -> None:
        self._line.close()
        self._process.kill()
        self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()


def _environment() -> dict[str, str]:
    """The child needs no secret of ours: a few variables that Python and its libraries need, nothing else."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _believe(document: Any) -> Index:
    try:
        return _TABLE.validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Refused(Reason.MALFORMED, f"the table from the jail is wrong: {first['msg']}", place[:200]) from None


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise Refused(Reason.MALFORMED, "a side file's name is not text")
    return name
