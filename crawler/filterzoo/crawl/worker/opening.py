"""Finds the model in an artifact: in place if it is stored uncompressed, otherwise unpacked to the scratch folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from filterzoo.archive import WHOLE, Member
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile, RandomAccessFile
from filterzoo.jail import Jail
from filterzoo.records import Index

PACKED_ENDING = re.compile(r"\.(gz|bz2|xz)$", re.IGNORECASE)
MAX_UNPACKED = 3
"""Most levels of unpacking: a tar in gzip, a deflated zip in it, its model."""
KEPT_FREE = 64 << 20
"""Bytes of disk space that are kept free."""


class Unpacked(LocalFile):
    """An unpacked member: an unnamed file, removed with its process.

    packed_bytes: bytes of the outermost file that were read for it.
    """

    def __init__(self, sink: IO[bytes], packed_bytes: int) -> None:
        self.path = Path("unpacked")
        self.descriptor = os.dup(sink.fileno())
        self.size = os.fstat(self.descriptor).st_size
        self.packed_bytes = packed_bytes

    def beside(self, name: str) -> LocalFile:
        """Refused: an unpacked file has no side files."""
        raise Refused(Reason.UNSUPPORTED, "a model in an archive whose weights lie in other files", ascii(name)[:80])


@contextlib.contextmanager
def opened(
    file: RandomAccessFile,
    name: str,
    jail: Jail,
    scratch: Path,
    member: str | None = None,
    *,
    all_tensors: bool = False,
    most: int | None = None,
) -> Iterator[tuple[RandomAccessFile, Index]]:
    """The file that holds the model's bytes, and the model's index.

    That is `file` itself, or an `Unpacked` file in `scratch` that is removed afterwards. member: the model in an
    archive; required if it holds several. all_tensors: the index lists every array. most: bytes that may be unpacked.
    Refused as by `Jail.look` and `Jail.unpack`. The limits of one packed file (`JailLimits`) apply to all levels
    together, so that nested bombs do not multiply.
    """
    with contextlib.ExitStack() as stack:
        inside: list[str] = []
        left: int | None = None
        for _ in range(MAX_UNPACKED + 1):
            found = jail.look(file, name, member, all_tensors=all_tensors)
            if not isinstance(found, Member):
                names = [*inside, *([found.member] if found.member else [])]
                yield file, replace(found, member="!".join(names) or None)
                return
            if left is None:
                left = min(jail.unpack_limit(found), _free(scratch), *(() if most is None else (most,)))
            file = stack.enter_context(_unpacked(file, found, jail, scratch, left))
            left -= file.size
            if found.packing in WHOLE:
                name = PACKED_ENDING.sub("", name)
            else:
                inside.append(found.name)
                name, member = found.name, None
        raise Refused(Reason.LIMIT, f"more than {MAX_UNPACKED} things packed in each other")


@contextlib.contextmanager
def _unpacked(
    packed: RandomAccessFile, member: Member, jail: Jail, scratch: Path, left: int
) -> Iterator[RandomAccessFile]:
    """The member's bytes as an unnamed file; Refused (limit) beyond `left` bytes."""
    with tempfile.TemporaryFile(dir=scratch) as sink:
        jail.unpack(packed, member, sink, left)
        packed_bytes = packed.packed_bytes if isinstance(packed, Unpacked) else member.length
        with Unpacked(sink, packed_bytes) as file:
            yield file


def _free(scratch: Path) -> int:
    """Bytes that may be unpacked to the disk, without the reserve."""
    scratch.mkdir(parents=True, exist_ok=True)
    return max(0, shutil.disk_usage(scratch).free - KEPT_FREE)
