"""The child process of the jail: starts it, limits its CPU time, and always ends it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from math import ceil

from filterzoo.errors import Reason, Refused
from filterzoo.jail.confinement import network
from filterzoo.jail.limits import JailLimits
from filterzoo.jail.messages import ConnectionClosed, Message, Wire
from filterzoo.jail.namespaces import way_in
from filterzoo.references import PluginReference

_COMPLAINT_BYTES = 4096
"""Bytes that are read from the end of the child's stderr."""
_GRACE_SECONDS = 1.0
"""How long a child that has closed its connection may take to exit by itself."""


class Killed(Refused):
    """Raised for a file whose child got SIGKILL or SIGTERM: because of the file, low memory, or another process."""


class NotIsolated(Refused):
    """Raised for a child that exited before it was ready, possibly because the kernel does not permit namespaces."""


class Child:
    """A child process that loads the formats and drops its privileges; `await_ready` before it gets a file.

    Its stderr goes to a temporary file, because a full pipe would block it.
    """

    def __init__(
        self,
        formats: Sequence[PluginReference],
        limits: JailLimits,
        prepared: Collection[str] = (),
        *,
        is_isolated: bool = True,
    ) -> None:
        """Start the child, without waiting. prepared: formats to prepare. is_isolated: in its own namespaces."""
        self._limits = limits
        self._way_in = way_in() if is_isolated else ()
        self.is_ready = False
        self.plugins = frozenset(reference.name for reference in formats)
        """Names of the plugins it has to load."""
        self.is_waiting = True
        """Whether the child has finished the last file; otherwise it must not get another."""
        with contextlib.ExitStack() as undo:
            self._errors = undo.enter_context(tempfile.TemporaryFile())
            ours, theirs = socket.socketpair()
            self.wire = Wire(ours)
            undo.callback(self.wire.close)
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603  # our own module, with our own interpreter
                    [*self._way_in, sys.executable, "-I", "-m", "filterzoo.jail.child", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    env=_environment(),
                )
            undo.callback(self._end_process)
            self._set_up(formats, prepared)
            self._undo = undo.pop_all()

    def _set_up(self, formats: Sequence[PluginReference], prepared: Collection[str]) -> None:
        setup = {
            "plugins": [(f.name, f.module, f.file) for f in formats],
            "prepared": sorted(prepared),
            "memory_bytes": self._limits.memory_bytes,
            "network": network(),
        }
        self.wire.deadline = time.monotonic() + self._limits.start_seconds
        with contextlib.suppress(ConnectionClosed):  # `await_ready` reports it
            self.wire.send_json(Message.SETUP, setup)

    def await_ready(self) -> None:
        """Wait until it has loaded the formats. Refused (crashed) on failure; NotIsolated if namespaces may be why."""
        try:
            _message, body = self.wire.receive()
        except ConnectionClosed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
            self._end_process()
            # A killed child is no evidence about namespaces.
            kind = NotIsolated if self._way_in and self._process.returncode > 0 else Refused
            raise kind(Reason.CRASHED, f"the jail did not start: {self._complaint()}") from None
        except TimeoutError:
            detail = f"the jail did not start within {self._limits.start_seconds} s"
            raise Refused(Reason.CRASHED, detail) from None
        ready = json.loads(body)
        self.confinement: list[str] = ready["confinement"]
        self.formats = frozenset[str](ready["formats"])
        """Names of the formats it loaded, sent before its first file."""
        self.is_ready = True

    @property
    def process_id(self) -> int:
        """The child's pid."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def allow(self, seconds: int) -> None:
        """Allow `seconds` of CPU time from now on, and `JailLimits.patience` times as much wall-clock time.

        The kernel kills a child that exceeds the CPU time. Where limits cannot be set from outside (macOS), the child
        sets its own.
        """
        self.wire.deadline = time.monotonic() + self._limits.patience * seconds
        if hasattr(resource, "prlimit"):
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(self.process_id, resource.RLIMIT_CPU)
                soft = ceil(_cpu_seconds(self.process_id)) + seconds
                most = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
                resource.prlimit(self.process_id, resource.RLIMIT_CPU, (most, hard))

    def death(self, seconds: int) -> Refused:
        """Why the child ended, as a refusal of the file it was reading with `seconds` of CPU time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        code = self._process.poll()
        if code is None:
            return Refused(Reason.CRASHED, "the process that read the file closed its connection")
        if code == -signal.SIGXCPU:
            return Refused(Reason.LIMIT, f"indexing needs more than {seconds} s of CPU time")
        kind = Killed if code in {-signal.SIGKILL, -signal.SIGTERM} else Refused
        return kind(Reason.CRASHED, f"the process that read the file ended with {code}: {self._complaint()}")

    def close(self) -> None:
        """End it."""
        self._undo.close()

    def _end_process(self) -> None:
        self._process.kill()
        self._process.wait()

    def _complaint(self) -> str:
        """The last line of the child's stderr."""
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - _COMPLAINT_BYTES))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return ascii(lines[-1])[:300] if lines else "it said nothing"


def _cpu_seconds(process_id: int) -> float:
    """CPU time another process has used (Linux): the clock id is computed as by clock_getcpuclockid(3)."""
    return time.clock_gettime((~process_id << 3) | 2)


def _environment() -> dict[str, str]:
    """Only the variables that Python and its libraries need: the child must not see secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
