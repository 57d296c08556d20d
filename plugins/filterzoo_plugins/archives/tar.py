"""Tar archives of model files (POSIX.1-2017, pax; GNU long names), and files compressed as a whole.

A link to a member of the archive is another name for it, which is not followed; any other link is unsafe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from filterzoo import Archive, Member, RandomAccessFile, Reason, Refused, hookimpl
from filterzoo_plugins.encodings.compression import first_bytes, is_named, packing
from filterzoo_plugins.encodings.names import show

BLOCK = 512
MAX_MEMBERS = 100_000
MAX_NAME_BYTES = 64 << 10
"""Longest extended header: a pax or GNU record that names the next member."""

_REGULAR = {b"0", b"\0", b"7"}
_FOLDER = b"5"
_HARD_LINK, _SOFT_LINK = b"1", b"2"
_OUTSIDE = re.compile(r"(^|/)\.\.(/|$)|^/|\0")
_PAX_PATH = re.compile(rb"(?:^|\n)\d+ path=([^\n]*)\n")
_PAX_LINK = re.compile(rb"(?:^|\n)\d+ linkpath=([^\n]*)\n")
_PAX_SIZE = re.compile(rb"(?:^|\n)\d+ size=(\d+)\n")


class Tar(Archive):
    """A tar file, or one compressed by gzip, bzip2 or xz, under any name."""

    name: ClassVar[str] = "tar"

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic bytes of a first header, or of a compressor if the name lacks its ending (`m.tgz`)."""
        packed = packing(head)
        return _is_header(head[:BLOCK]) or (packed is not None and not is_named(packed, name))

    def members(self, file: RandomAccessFile) -> Iterator[Member]:
        """The regular files; a compressed tar has the tar as its only member."""
        packed = packing(file.read(0, min(BLOCK, file.size)))
        if packed is None:
            yield from _members(file, [])
            return
        if not _is_header(first_bytes(packed, file, BLOCK)):
            raise Refused(Reason.UNSUPPORTED, f"a {packed} file that its name does not call one, and no tar archive")
        yield Member(name="tar", offset=0, length=file.size, packing=packed)

    def aliases(self, file: RandomAccessFile) -> Mapping[str, str]:
        """Link -> its target, which may be another link."""
        links: list[tuple[str, str]] = []
        if packing(file.read(0, min(BLOCK, file.size))) is None:
            for _ in _members(file, links):
                pass
        return {_plain(name): target for name, target in links}


class Compressed(Archive):
    """A file compressed by gzip, bzip2 or xz, with that ending (`m.pth.gz`): a model, or a tar archive.

    A compressed file under another name is most likely a failed download, and is refused.
    """

    name: ClassVar[str] = "compressed"

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic bytes of a compressor and its file name ending."""
        packed = packing(head)
        return packed is not None and is_named(packed, name)

    def members(self, file: RandomAccessFile) -> Iterator[Member]:
        """The single file in it."""
        packed = packing(file.read(0, min(BLOCK, file.size)))
        if packed is not None:
            yield Member(name="", offset=0, length=file.size, packing=packed)


def _is_header(block: bytes) -> bool:
    """Check a tar header's checksum: the sum of its bytes, with its own field as blanks."""
    if len(block) < BLOCK or not block.strip(b"\0"):
        return False
    try:
        declared = _number(block[148:156])
    except Refused:
        return False
    return declared == sum(block[:148]) + 8 * ord(" ") + sum(block[156:BLOCK])


def _number(field: bytes) -> int:
    """An octal field, or GNU's base-256 for large numbers."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits or any(digit not in b"01234567" for digit in digits):
        raise Refused(Reason.MALFORMED, f"a tar header with the number {field!a}")
    return int(digits, 8)


@dataclass(slots=True)
class _Extended:
    """Fields of the next member, from extended headers."""

    name: str | None = None
    size: int | None = None
    link: str | None = None


def _members(file: RandomAccessFile, links: list[tuple[str, str]]) -> Iterator[Member]:
    """The regular files; links are appended to `links`, and checked at the end."""
    offset, extended = 0, _Extended()
    names: set[str] = set()
    for _ in range(MAX_MEMBERS):
        if offset + BLOCK > file.size:
            raise Refused(Reason.MALFORMED, "the tar archive ends without its end mark", f"byte {offset}")
        header = file.read(offset, BLOCK)
        if not header.strip(b"\0"):
            _check_links(links, names)
            return
        if not _is_header(header):
            raise Refused(Reason.MALFORMED, "a tar header whose checksum does not fit", f"byte {offset}")
        kind, size, begin = header[156:157], extended.size or _number(header[124:136]), offset + BLOCK
        if begin + size > file.size:
            raise Refused(Reason.MALFORMED, "a tar member reaches past the end of the file", f"byte {offset}")
        if kind in {b"x", b"g", b"L", b"K"}:
            _read_extended(file.read(begin, _bounded(size)), kind, extended)
        else:
            name = extended.name if extended.name is not None else _name(header)
            _check_member(name, kind)
            if kind in {_HARD_LINK, _SOFT_LINK}:
                target = extended.link if extended.link is not None else _text(header[157:257].split(b"\0")[0])
                links.append((name, _target_of(name, target, kind)))
            else:
                names.add(_plain(name))
            if kind in _REGULAR and not name.endswith("/"):
                yield Member(name=name, offset=begin, length=size, size=size)
            extended = _Extended()
        offset = begin + -(-size // BLOCK) * BLOCK
    raise Refused(Reason.LIMIT, f"more than {MAX_MEMBERS} members in the tar archive")


def _bounded(size: int) -> int:
    if size > MAX_NAME_BYTES:
        raise Refused(Reason.LIMIT, f"an extended tar header of {size} bytes")
    return size


def _read_extended(body: bytes, kind: bytes, extended: _Extended) -> None:
    if kind == b"L":
        extended.name = _text(body.rstrip(b"\0"))
        return
    if kind == b"K":
        extended.link = _text(body.rstrip(b"\0"))
        return
    if kind == b"g":
        return
    path, size, link = _PAX_PATH.search(body), _PAX_SIZE.search(body), _PAX_LINK.search(body)
    if link:
        extended.link = _text(link[1])
    if path:
        extended.name = _text(path[1])
    if size and len(size[1]) < 20:
        extended.size = int(size[1])


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _check_member(name: str, kind: bytes) -> None:
    if kind not in _REGULAR and kind not in {_FOLDER, _HARD_LINK, _SOFT_LINK}:
        raise Refused(Reason.UNSAFE, f"a tar member of type {kind!a}: no regular file, no folder", show(name))
    if _OUTSIDE.search(name):
        raise Refused(Reason.UNSAFE, "a tar member that leaves the archive's folder", show(name))


def _target_of(name: str, target: str, kind: bytes) -> str:
    """The member that a link points to: soft links are relative to their folder, hard links to the archive's root."""
    folder = _plain(name).rpartition("/")[0] if kind == _SOFT_LINK else ""
    steps: list[str] = []
    for step in [".."] if not target or target.startswith("/") else f"{folder}/{target}".split("/"):
        if step == ".." and not steps:
            raise Refused(Reason.UNSAFE, "a link in a tar archive that leads out of it", show(name))
        if step == "..":
            steps.pop()
        elif step not in {"", "."}:
            steps.append(step)
    return "/".join(steps)


def _check_links(links: list[tuple[str, str]], names: set[str]) -> None:
    """Refused (unsafe) if a link does not lead to a file or folder of the archive."""
    known = names | {name.rpartition("/")[0] for name in names} | {_plain(name) for name, _ in links}
    for name, target in links:
        if target not in known:
            raise Refused(Reason.UNSAFE, "a link in a tar archive to what is not in it", show(name))


def _plain(name: str) -> str:
    return "/".join(step for step in name.split("/") if step not in {"", "."})


@hookimpl
def filterzoo_archives() -> Iterable[Archive]:
    """See `filterzoo.hooks`."""
    return [Tar(), Compressed()]
