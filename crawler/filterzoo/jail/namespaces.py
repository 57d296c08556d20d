"""Starts the jail's child in an empty network namespace, if util-linux is installed; the kernel may not permit it."""

from __future__ import annotations

import shutil
import sys

_OWN = ("--user", "--map-current-user", "--net", "--ipc", "--uts")
"""A user namespace first: an unprivileged user needs it for the others."""


def way_in() -> tuple[str, ...]:
    """The command prefix that runs a command in new namespaces; empty without util-linux.

    If the kernel does not permit it, the prefix exits with a code above 0 without running the command.
    """
    unshare = shutil.which("unshare")
    return () if sys.platform != "linux" or unshare is None else (unshare, *_OWN, "--")
