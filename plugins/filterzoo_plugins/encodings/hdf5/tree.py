"""The groups, data sets and attributes of an HDF5 file, through h5py, without access to other files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5t

from filterzoo import RandomAccessFile, Reason, Refused
from filterzoo_plugins.encodings.names import show

MAX_DEPTH = 64
MAX_OBJECTS = 100_000
MAX_ATTRIBUTE = 32 << 20
"""Most bytes of an attribute; Keras stores a model's configuration in one."""
BLOCK = 1 << 16
MAX_BLOCKS = 256
"""Most cached blocks (16 MiB) while the tree is read: metadata are scattered between the weights."""

_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError)


@dataclass(frozen=True, slots=True)
class H5DataSet:
    """One data set under one name; `address`, that of its header, increases in the order of writing."""

    name: str
    address: int
    id: h5d.DatasetID


@dataclass(slots=True)
class Tree:
    """Everything that hard links reach, by path without a leading slash; the root's path is empty."""

    groups: dict[str, h5g.GroupID] = field(default_factory=dict)
    data_sets: dict[str, H5DataSet] = field(default_factory=dict)


@contextmanager
def open_tree(file: RandomAccessFile) -> Iterator[Tree]:
    """The tree of a file; Refused (malformed) for errors of HDF5 while it is open."""
    with hdf5_errors(), h5py.File(_Reader(file), "r") as opened:
        if opened.userblock_size:
            raise Refused(Reason.UNSUPPORTED, "an HDF5 file behind a user block", "byte 0")
        yield _walk(opened.id)


@contextmanager
def hdf5_errors() -> Iterator[None]:
    """Converts exceptions of h5py into a refusal."""
    try:
        yield
    except _HDF5_ERRORS as error:
        raise Refused(Reason.MALFORMED, f"HDF5 cannot read it: {show(str(error))}") from error


class _Reader(io.RawIOBase):
    """The file object for h5py: caches the last blocks read."""

    def __init__(self, file: RandomAccessFile) -> None:
        super().__init__()
        self._file = file
        self._at = 0
        self._blocks: dict[int, bytes] = {}
        self._heaps: set[int] = set()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # h5py passes memoryviews
        start = self._at
        filled = 0
        while filled < len(buffer):
            number, skip = divmod(self._at, BLOCK)
            part = self._block(number)[skip : skip + len(buffer) - filled]
            if not part:
                raise Refused(Reason.MALFORMED, "HDF5 refers to bytes past the end of the file", f"byte {self._at}")
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            self._at += len(part)
        if bytes(buffer[:4]) == b"GCOL" and start not in self._heaps:
            _check_heap(self._file, start)
            self._heaps.add(start)
        return filled

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) >= MAX_BLOCKS:
                self._blocks.pop(next(iter(self._blocks)))
            offset = number * BLOCK
            self._blocks[number] = self._file.read(offset, max(0, min(BLOCK, self._file.size - offset)))
        return self._blocks[number]


def _check_heap(file: RandomAccessFile, start: int) -> None:
    """Refused (malformed) if an object of a global heap has length zero: libhdf5 2.0 would loop endlessly.

    HDF5 File Format Specification 3.0, III.E: index, reference count, reserved, size; object 0 is the free space.
    """
    end = int.from_bytes(file.read(start, 16)[8:], "little")
    if end > MAX_ATTRIBUTE:
        raise Refused(Reason.LIMIT, f"a global heap of {end} bytes; at most {MAX_ATTRIBUTE} are read", f"byte {start}")
    collection = file.read(start, end)
    at = 16
    while at + 16 <= end:
        size = int.from_bytes(collection[at + 8 : at + 16], "little")
        length = size if collection[at : at + 2] == b"\0\0" else 16 + (size + 7) // 8 * 8
        if length == 0 or size > end:
            raise Refused(Reason.MALFORMED, "a global heap object without a possible length", f"byte {start + at}")
        at += length


def _walk(root: h5g.GroupID) -> Tree:
    """Follow hard links; each group is visited once, so that cycles end. Soft links are resolved at the end."""
    tree = Tree()
    soft: dict[str, str] = {}
    pending: list[tuple[str, h5g.GroupID]] = [("", root)]
    entered: set[int] = {h5o.get_info(root).addr}
    while pending:
        path, group = pending.pop()
        tree.groups[path] = group
        if path.count("/") >= MAX_DEPTH:
            raise Refused(Reason.LIMIT, f"HDF5 groups nested deeper than {MAX_DEPTH}", show(path))
        raw_names: list[bytes] = []
        group.links.iterate(raw_names.append)
        for raw_name in raw_names:
            name = f"{path}/{raw_name.decode('utf-8', 'backslashreplace')}".removeprefix("/")
            if len(tree.data_sets) + len(tree.groups) + len(pending) > MAX_OBJECTS:
                raise Refused(Reason.LIMIT, f"more than {MAX_OBJECTS} objects in an HDF5 file", show(name))
            kind = group.links.get_info(raw_name).type
            if kind == h5l.TYPE_SOFT:
                soft[name] = _target(path, group.links.get_val(raw_name).decode("utf-8", "backslashreplace"))
                continue
            if kind != h5l.TYPE_HARD:
                raise Refused(Reason.UNSAFE, "a link that leads out of the file", show(name))
            _take(tree, pending, entered, name, h5o.open(group, raw_name))
    for name, target in soft.items():
        _resolve(tree, name, target)
    return tree


def _take(tree: Tree, pending: list[tuple[str, h5g.GroupID]], entered: set[int], name: str, found: object) -> None:
    if isinstance(found, h5d.DatasetID):
        tree.data_sets[name] = H5DataSet(name, h5o.get_info(found).addr, found)
        _check_own_bytes(found, name)
    elif isinstance(found, h5g.GroupID):
        address = h5o.get_info(found).addr
        if address not in entered:
            entered.add(address)
            pending.append((name, found))


def _check_own_bytes(found: h5d.DatasetID, name: str) -> None:
    """Refused (unsafe) if a data set's elements are stored in other files."""
    creation = found.get_create_plist()
    if creation.get_layout() == h5d.VIRTUAL:
        raise Refused(Reason.UNSAFE, "a virtual data set, made of other files", show(name))
    if creation.get_external_count():
        raise Refused(Reason.UNSAFE, "a data set whose bytes lie in another file", show(name))


def _target(group: str, path: str) -> str:
    """The target of a soft link in `group`, as a path of the tree; `..` has no meaning in HDF5."""
    return path.strip("/") if path.startswith("/") else f"{group}/{path}".strip("/")


def _resolve(tree: Tree, name: str, target: str) -> None:
    if target in tree.data_sets:
        data_set = tree.data_sets[target]
        tree.data_sets[name] = H5DataSet(name, data_set.address, data_set.id)
    elif target not in tree.groups:
        raise Refused(Reason.MALFORMED, f"a soft link to {show(target)}, which is not in the file", show(name))


def text_attribute(owner: h5g.GroupID | h5d.DatasetID, name: str) -> bytes | None:
    """A string attribute; None if there is none, or it is not a single string."""
    values = _strings(owner, name)
    return values[0] if values is not None and len(values) == 1 else None


def names_attribute(owner: h5g.GroupID, name: str) -> list[str] | None:
    """A list of names; Keras splits a long list into `name0`, `name1`, ... None if there is none."""
    values = _strings(owner, name)
    number = 0
    while values is None or number:
        part = _strings(owner, f"{name}{number}")
        if part is None:
            break
        values = (values or []) + part
        number += 1
    return None if values is None else [value.decode("utf-8", "backslashreplace") for value in values]


def _strings(owner: h5g.GroupID | h5d.DatasetID, name: str) -> list[bytes] | None:
    raw_name = name.encode()
    if not h5a.exists(owner, raw_name):
        return None
    attribute = h5a.open(owner, raw_name)
    if 0 in attribute.shape:
        return []
    size = prod(attribute.shape) * attribute.get_type().get_size()
    if size > MAX_ATTRIBUTE:
        raise Refused(Reason.LIMIT, f"an attribute of {size} bytes; at most {MAX_ATTRIBUTE} are read", show(name))
    if attribute.get_type().get_class() != h5t.STRING:
        return None
    values = np.empty(attribute.shape, attribute.dtype)
    attribute.read(values)
    return [value if isinstance(value, bytes) else str(value).encode() for value in values.reshape(-1).tolist()]
