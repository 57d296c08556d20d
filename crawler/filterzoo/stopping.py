"""Ctrl-C and SIGTERM: once, the work that is under way is given up and what is done is kept; twice, at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

GRACE = 4.0
"""Seconds for giving up what is under way; then the process ends without it."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Raised in the main thread by the first signal. No `Exception`: nothing that isolates plugins holds it up.

    kept: what a command says of its work so far.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.kept = ""

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


def listen() -> None:
    """From now on the signals raise Stopped. For the main thread of a command, as the first thing it does."""
    for number in _SIGNALS:
        signal.signal(number, _stop)


def end(stopped: Stopped) -> NoReturn:
    """Say on one line that and what for the command ended, and exit."""
    kept = f"; {stopped.kept}" if stopped.kept else ""
    _say(f"interrupted{kept}; run the same command again to go on")
    sys.exit(stopped.exit_code)


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, _stop_at_once)
    # A thread of a library may wait for a server for longer than anybody who presses Ctrl-C.
    timer = threading.Timer(GRACE, _give_up, (number,))
    timer.daemon = True
    timer.start()
    raise Stopped(number)


def _stop_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _give_up(number: int) -> None:
    _say("interrupted; run the same command again to go on")
    os._exit(128 + number)


_has_said = threading.Event()


def _say(line: str) -> None:
    if not _has_said.is_set():
        _has_said.set()
        try:
            os.write(2, f"filterzoo: {line}\n".encode("utf-8", "backslashreplace"))
        except OSError:  # nobody listens any more
            return
