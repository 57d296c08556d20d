"""Entry point of `filterzoo`: listens for Ctrl-C before it loads the command line, which takes a moment."""

from __future__ import annotations

import contextlib
import sys

from filterzoo import stopping

OPEN_FILES = 10_240
"""As many files as a model may lie in, twice: each is open while it is indexed and while it is read."""


def main() -> None:
    """Run the command line."""
    stopping.listen()
    _allow_open_files()
    try:
        from filterzoo.cli import main as run  # noqa: PLC0415  # see above

        run()
    except stopping.Stopped as stopped:
        stopping.end(stopped)


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
