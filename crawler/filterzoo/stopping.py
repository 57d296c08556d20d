"""Ctrl-C and SIGTERM: the first signal abandons work in progress and keeps finished work; the second exits at once."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

GRACE = 4.0
"""Seconds to abandon work in progress; then the process exits regardless."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Raised in the main thread by the first signal.

    Not an `Exception`, so that the code that isolates plugins does not catch it. kept: what the command reports about
    the work that is kept.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.kept = ""

    @property
    def exit_code(self) -> int:
        """The shells' convention: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


def listen() -> None:
    """From now on the signals raise Stopped. Call it first, in the main thread of a command."""
    for number in _SIGNALS:
        signal.signal(number, _stop)
    atexit.register(_ignore)  # the first one registered is the last to run


def end(stopped: Stopped) -> NoReturn:
    """Print on one line that the command was interrupted and what was kept, and exit."""
    kept = f"; {stopped.kept}" if stopped.kept else ""
    _print_once(f"interrupted{kept}; run the same command again to continue")
    sys.exit(stopped.exit_code)


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, _stop_at_once)
    # A library's thread may wait for a server for longer than a user waits after Ctrl-C.
    timer = threading.Timer(GRACE, _give_up, (number,))
    timer.daemon = True
    timer.start()
    raise Stopped(number)


def _ignore() -> None:
    """Ignore the signals while the interpreter ends.

    It removes handlers before, so a late second Ctrl-C would kill the process, with another exit code.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _give_up(number: int) -> None:
    _print_once("interrupted; run the same command again to continue")
    os._exit(128 + number)


_has_printed = threading.Event()


def _print_once(line: str) -> None:
    if not _has_printed.is_set():
        _has_printed.set()
        try:
            os.write(2, f"filterzoo: {line}\n".encode("utf-8", "backslashreplace"))
        except OSError:  # standard error is closed
            return
