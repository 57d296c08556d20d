"""Starts the jail's child in an empty network namespace, if the kernel and util-linux permit it."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys

_OWN = ("--user", "--map-current-user", "--net", "--ipc", "--uts")
"""A user namespace first: an unprivileged user needs it for the others."""
_SECONDS = 5


@functools.cache
def way_in() -> tuple[str, ...]:
    """The command prefix that runs a command in new namespaces; empty where that is not permitted."""
    unshare, nothing = shutil.which("unshare"), shutil.which("true")
    if sys.platform != "linux" or unshare is None or nothing is None:
        return ()
    command = (unshare, *_OWN, "--")
    try:
        tried = subprocess.run(  # noqa: S603  # util-linux's own program, with no argument from a file
            [*command, nothing], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if tried.returncode == 0 else ()
