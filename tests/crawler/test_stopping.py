"""A command that does not come to its end after a signal is ended, with one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

STUCK = """
import os, signal, sys, threading, time
from filterzoo import stopping
stopping.GRACE = 0.2
stopping.listen()
try:
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(60)
except stopping.Stopped:
    thread = threading.Thread(target=time.sleep, args=(60,))
    thread.start()
    thread.join()
"""
"""What is given up waits for a thread of a library, which waits for a server."""


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_what_cannot_be_given_up_is_left_when_the_grace_is_over(number: int, code: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", STUCK, str(number)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr == "filterzoo: interrupted; run the same command again to continue\n"


LATE = """
import os, signal, sys
from filterzoo import stopping
stopping.listen()
class Late:
    def __del__(self, kill=os.kill, process=os.getpid(), number=int(sys.argv[1])):
        kill(process, number)
late = Late()
stopping.end(stopping.Stopped(signal.SIGINT))
"""
"""The interpreter removes its objects after the handlers of signals."""


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_while_the_interpreter_ends_changes_no_exit_code(number: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LATE, str(number)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ran.returncode, ran.stdout) == (130, "")
