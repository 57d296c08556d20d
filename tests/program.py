"""Runs the installed `filterzoo` as a user would, in a separate process."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil

PROGRAM = Path(sys.executable).with_name("filterzoo")
FRESH = "FILTERZOO_TESTS_FRESH" in os.environ
"""Start every command as a new interpreter, as users do: slower by two to four seconds each."""

READ_AT_START = ("HOME", "LD_", "MKL_", "MPL", "NUMBA_", "OMP_", "OPENBLAS_", "PATH", "PYTHON", "TEMP", "TMP", "XDG_")
"""Prefixes of variables that Python or an imported library reads only once."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.out)


def filterzoo(
    *arguments: Any, cwd: Path | None = None, env: Mapping[str, str] | None = None, fresh: bool = False
) -> Ran:
    """Run `filterzoo ARGUMENTS...` to its end. fresh: in a new interpreter instead of a fork of the preloaded process.

    A command whose variables READ_AT_START differ from those of this process always gets a new interpreter, and so do
    all commands if FILTERZOO_TESTS_FRESH is set.
    """
    argv = [str(PROGRAM), *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    if fresh or FRESH or (preloaded := Preloaded.of(environment)) is None:
        done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300, check=False)
        ran = Ran(done.returncode, done.stdout, done.stderr)
    else:
        ran = preloaded.run(argv, cwd or Path.cwd(), environment)
    assert "Traceback" not in ran.err, ran.err
    return ran


class Preloaded:
    """The process of `tests/preloaded.py` that belongs to this test process."""

    _started: ClassVar[Preloaded | None] = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Preloaded | None:
        """The process for this environment, started if there is none yet; None if it runs with another environment."""
        if cls._started is None:
            if not sys.platform.startswith("linux"):
                return None
            cls._started = cls(environment)
        return cls._started if cls._started.read_at_start == _read_at_start(environment) else None

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self.read_at_start = _read_at_start(environment)
        self._commands, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("preloaded.py"), str(theirs.fileno())],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._commands.settimeout(300)
        self._one_at_a_time = threading.Lock()
        atexit.register(self.end)

    def run(self, argv: list[str], cwd: Path, environment: Mapping[str, str] | None = None) -> Ran:
        """The command's exit code and output. environment: by default the variables of the preloaded process."""
        variables = self._environment if environment is None else dict(environment)
        with self._one_at_a_time, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = json.dumps({"argv": argv, "cwd": str(cwd), "environment": variables}).encode()
            try:
                socket.send_fds(self._commands, [request], [out.fileno(), err.fileno()])
                code = json.loads(self._commands.recv(100))
            except (OSError, ValueError):
                self.end()  # or the next command would be given this one's exit code
                raise
            out.seek(0)
            err.seek(0)
            return Ran(code, text(out.read()), text(err.read()))

    def processes(self) -> list[psutil.Process]:
        """Its running child processes: those that serve all commands, and those of the current command."""
        found = psutil.Process(self._process.pid).children(recursive=True)
        return [process for process in found if _runs(process)]

    def end(self) -> None:
        """End the process and its children; the next command starts another."""
        type(self)._started = None
        self._commands.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def text(output: bytes) -> str:
    """Decode output as `subprocess` decodes a text stream."""
    return output.decode().replace("\r\n", "\n").replace("\r", "\n")
