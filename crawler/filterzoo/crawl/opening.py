"""Finds the model in an artifact: in place where it can be, unpacked to the scratch folder where it must be."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filterzoo.archive import WHOLE, Member
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile, RandomAccessFile
from filterzoo.jail import Jail
from filterzoo.records import Index

PACKED_ENDING = re.compile(r"\.(gz|bz2|xz)$", re.IGNORECASE)
MAX_UNPACKED = 3
"""How many times one thing inside another is unpacked: a tar in gzip, a deflated zip in it, its model."""


class Unpacked(LocalFile):
    """What came out of an archive, for as long as it is needed.

    packed_bytes: how many bytes of the outermost file were read for it.
    """

    def __init__(self, path: Path, packed_bytes: int) -> None:
        super().__init__(path, follow_links=False)
        self.packed_bytes = packed_bytes

    def beside(self, name: str) -> LocalFile:
        """Nothing lies beside it: its folder is ours."""
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
) -> Iterator[tuple[RandomAccessFile, Index]]:
    """The file that holds the model's bytes, and the model's index.

    That is `file` itself, or an `Unpacked` one in `scratch` that is gone afterwards. `member`: which model of an
    archive; needed where it holds several. all_tensors: the index lists every array. Refused as `Jail.look` and
    `Jail.unpack` do.
    """
    with contextlib.ExitStack() as stack:
        inside: list[str] = []
        for _ in range(MAX_UNPACKED + 1):
            found = jail.look(file, name, member, all_tensors=all_tensors)
            if not isinstance(found, Member):
                names = [*inside, *([found.member] if found.member else [])]
                yield file, replace(found, member="!".join(names) or None)
                return
            file = stack.enter_context(_unpacked(file, found, jail, scratch))
            if found.packing in WHOLE:
                name = PACKED_ENDING.sub("", name)
            else:
                inside.append(found.name)
                name, member = found.name, None
        raise Refused(Reason.LIMIT, f"more than {MAX_UNPACKED} things packed in each other")


@contextlib.contextmanager
def _unpacked(packed: RandomAccessFile, member: Member, jail: Jail, scratch: Path) -> Iterator[RandomAccessFile]:
    """The member's bytes as a file of its own, for as long as it is needed."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="unpacked-") as sink:
        jail.unpack(packed, member, sink)
        sink.flush()
        packed_bytes = packed.packed_bytes if isinstance(packed, Unpacked) else member.length
        with Unpacked(Path(sink.name), packed_bytes) as file:
            yield file
