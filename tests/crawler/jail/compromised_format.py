"""A format plugin that does what the file tells it: the jail's child as an attacker would have it.

A file is `PROBE\n` and the body of a generator function, with `file` and the names of this module at hand.
"""

# ruff: noqa: F401  # the files use these names
import ctypes
import errno
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time

from filterzoo import Context, Convolution, FileFacts, Format, Kind, Reason, Refused, Span, Tensor, hookimpl

NAN = float("nan")
INFINITY = float("inf")
LIBC = ctypes.CDLL(None)
WIRE = None
"""The child's own line to its parent, for messages that no honest child sends."""

if __name__ != "__main__" and "filterzoo.jail.child" in sys.orig_argv:
    WIRE = socket.socket(fileno=os.dup(int(sys.argv[1])))


def conv(name="w", *, kind=Kind.CONV, groups=1, convolution=None, **fields):
    """A tensor that fits a file of at least 40 bytes, but for what is asked for."""
    convolution = convolution or Convolution(kind=kind, context=Context.GRAPH, groups=groups)
    return Tensor(
        **({"name": name, "dtype": "F32", "shape": (1, 1, 3), "span": Span(0, 12), "convolution": convolution} | fields)
    )


def say(kind, body):
    """A raw message."""
    WIRE.sendall(struct.pack(">BI", kind, len(body)) + body)


def hear():
    """The parent's raw answer."""
    _kind, length = struct.unpack(">BI", _take(5))
    return _take(length).decode()


def _take(length):
    taken = b""
    while len(taken) < length:
        taken += WIRE.recv(length - len(taken))
    return taken


def attempt(action):
    """What came of something forbidden, as a tensor's name."""
    try:
        result = action()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told
        return f"{type(error).__name__} {errno.errorcode.get(getattr(error, 'errno', None) or 0, '')}".strip()
    return f"it worked: {result!r}"


class Broken(Exception):
    def __str__(self):
        raise RuntimeError("no message either")


class Probe(Format):
    name = "probe"
    framework = "probe"
    is_graph = True

    def accepts(self, head, name):
        if head.startswith(b"ACCEPTS RAISES"):
            raise KeyError("accepts")
        return head.startswith(b"PROBE\n")

    def index(self, file):
        source = file.read(6, file.size - 6).decode()
        space = dict(globals(), file=file)
        exec("def index():\n" + textwrap.indent(source, "    ") + "\n    yield from ()", space)
        yield from space["index"]()

    def facts(self, file):
        if b"FACTS RAISE" in file.read(0, file.size):
            raise KeyError("facts")
        return FileFacts(framework="probe")


@hookimpl
def filterzoo_formats():
    return [Probe()]
