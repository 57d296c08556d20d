"""Fault injection: counts the system calls of a command that change files, and injects a fault at one of them.

`shim.c` is built with the system's compiler and loaded with LD_PRELOAD. All processes of a command share one counter in
a memory-mapped file, so a number identifies a call of the command in whichever process it happens.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import psutil
from tests.program import Preloaded, Ran

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
_CONTROL = struct.Struct("70i")


class Fault(IntEnum):
    """The fault injected at a call; `shim.c` has the same numbers."""

    NONE = 0
    KILL = 1
    """All processes of the command are killed before the call."""
    TEAR = 2
    """All processes are killed after the call; of a write, only the first half is made."""
    FULL = 3
    """ENOSPC, for this call and every later one that allocates space."""
    FAIL = 4
    """EIO, once."""


@dataclass(frozen=True, slots=True)
class Call:
    """A counted call: `write`, `truncate` (`other`: the length), `rename`, `link`, `open` (creates or empties), ..."""

    name: str
    offset: int
    path: str
    other: str
    data: bytes

    def __str__(self) -> str:
        return " ".join(part for part in (self.name, self.path, self.other) if part)


def build(folder: Path) -> Path:
    """Compile the shim into `folder`."""
    assert COMPILER is not None
    shim = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Wno-nonnull-compare", "-o", shim, source, "-ldl"], check=True
    )
    return shim


class Faults:
    """The shim for processes that change files below `root`. Its own files are in `folder`, outside `root`."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.root = root
        self._log = folder / "calls"
        self._log.touch()
        control = folder / "control"
        control.write_bytes(bytes(_CONTROL.size))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL.size)
        self.environment = {
            "LD_PRELOAD": str(build(folder)),
            "FAULTS_CONTROL": str(control),
            "FAULTS_UNDER": str(root),
            "FAULTS_LOG": str(self._log),
        }

    def arm(self, at: int = 0, fault: Fault = Fault.NONE, *, with_data: bool = False) -> None:
        """Restart the count at 1 and inject the fault at call number `at`; 0: at none."""
        self._control[:] = _CONTROL.pack(at, fault, with_data, *[0] * 67)
        os.truncate(self._log, 0)

    @property
    def count(self) -> int:
        """Calls since `arm`."""
        return _CONTROL.unpack(self._control[:])[3]

    def wait_for_the_dead(self) -> None:
        """Wait until every process that changed files since `arm` has ended."""
        processes, *pids = _CONTROL.unpack(self._control[:])[5:]
        end = time.monotonic() + 30
        while any(_is_alive(pid) for pid in pids[:processes]):
            assert time.monotonic() < end, "a killed process is still there"
            time.sleep(0.02)

    def calls(self) -> Iterator[Call]:
        """The calls that succeeded since `arm`, and the faulty one as `died ...` or `failed ...`."""
        content = self._log.read_bytes()
        place = 0
        while place < len(content):
            end = content.index(b"\n", place)
            head = content[place:end].decode().split(" ")
            name, (offset, *lengths) = " ".join(head[:-4]), map(int, head[-4:])
            size, first, second = lengths
            path, other = content[end + 1 :][:first].decode(), content[end + 1 + first :][:second].decode()
            place = end + 1 + first + second + size
            yield Call(name, offset, path, other, content[place - size : place])

    def met(self) -> str:
        """The faulty call, for messages, with its path relative to `root`."""
        met = [str(call) for call in self.calls() if call.name.startswith(("died", "failed"))]
        return (met[0] if met else "no call").replace(f"{self.root}/", "")


class Program:
    """`filterzoo` under the shim, forked from a process that has imported it. Downloads are cached in `case/cache`.

    environment: further variables. Context managers entered into `opened` are closed by `end`.
    """

    def __init__(self, faults: Faults, environment: Mapping[str, str] | None = None) -> None:
        self.faults = faults
        self.opened = ExitStack()
        cache = {"FILTERZOO_CACHE": str(faults.root / "case" / "cache")}
        self._preloaded = Preloaded({**os.environ, **faults.environment, **cache, **(environment or {})})

    def run(
        self,
        *arguments: Any,
        at: int = 0,
        fault: Fault = Fault.NONE,
        with_data: bool = False,
        kill_after: float | None = None,
    ) -> Ran:
        """Run `filterzoo ARGUMENTS...` in the root with the fault at call number `at`. Code -9: it was killed.

        kill_after: seconds after which all its processes are killed.
        """
        self.faults.arm(at, fault, with_data=with_data)
        killer = None
        if kill_after is not None:
            killer = threading.Timer(kill_after, self._kill, [set(self._preloaded.processes())])
            killer.start()
        ran = self._preloaded.run(["filterzoo", *map(str, arguments)], self.faults.root)
        if killer is not None:
            killer.cancel()
            killer.join()
        if ran.code == -9:
            self.faults.wait_for_the_dead()
        return ran

    def _kill(self, idle: set[psutil.Process]) -> None:
        """Kill all processes except the idle ones, until none is left."""
        while running := set(self._preloaded.processes()) - idle:
            for process in running:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.002)

    def end(self) -> None:
        self._preloaded.end()
        self.opened.close()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
