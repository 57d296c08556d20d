"""Entry point of `filterzoo`: installs the Ctrl-C handler before it imports the command line, which takes a moment."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

from filterzoo import stopping

_STANDARD_ERROR = 2
_NEW_OBJECTS = 50_000
"""New objects before a garbage collection: imports create no garbage, and collecting takes a tenth of their time."""
OPEN_FILES = 10_240
"""Twice the largest number of files of a model: each is open for indexing and for reading."""


def main() -> None:
    """Run the command line."""
    stopping.listen()
    gc.set_threshold(_NEW_OBJECTS)
    _open_streams()
    _allow_open_files()
    try:
        from filterzoo.cli import main as run  # noqa: PLC0415  # see above

        run()
    except stopping.Stopped as stopped:
        stopping.end(stopped)


def _open_streams() -> None:
    """Open the standard streams that the caller closed (`>&-`), so that no other file gets their descriptors."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003  # takes no keyword
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)


def _allow_open_files() -> None:
    """Raise the limit of open files, for this process and its workers, as far as the system permits."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  # Unix only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
