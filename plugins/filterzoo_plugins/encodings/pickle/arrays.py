"""Pickles of NumPy arrays: the arrays' bytes are located inside the pickle; nothing is called."""

from __future__ import annotations

from collections.abc import Iterator

from filterzoo import RandomAccessFile, Reason, Refused, StoredRange, Tensor
from filterzoo_plugins.encodings.names import show, without_surrogates
from filterzoo_plugins.encodings.pickle.array import MIN_BLOB, array_tensor, is_array, objects_in
from filterzoo_plugins.encodings.pickle.inert import Instance, Meaning, Name, PickleBytes
from filterzoo_plugins.encodings.pickle.machine import read_pickle
from filterzoo_plugins.encodings.pickle.stack import Truncated

MAX_ARRAYS = 200_000
MAX_DEPTH = 50
_PAGE = 1 << 16


class _Paged:
    """A file as bytes, with one page at a time in memory."""

    def __init__(self, file: RandomAccessFile) -> None:
        self._file = file
        self._start = 0
        self._page = b""

    def __len__(self) -> int:
        return self._file.size

    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, int):
            return self._bytes(place, place + 1)[0]
        return self._bytes(place.start, place.stop)

    def _bytes(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._file.size)
        if start < self._start or stop > self._start + len(self._page):
            if stop - start > _PAGE:
                return self._file.read(start, stop - start)
            self._start = start
            self._page = self._file.read(start, min(_PAGE, self._file.size - start))
        return self._page[start - self._start : stop - self._start]

    def find(self, wanted: bytes, start: int, end: int) -> int:
        found = self._bytes(start, end).find(wanted)
        return found if found < 0 else start + found


class ArrayMeaning:
    """Knows tuples, dictionaries and arrays; every other call stays inert."""

    def persistent(self, identity: object) -> object:
        """NumPy writes no persistent ids."""
        del identity
        raise Refused(Reason.UNSUPPORTED, "a pickle with persistent ids that is no torch checkpoint")

    def call(self, maker: object, arguments: tuple[object, ...]) -> object:
        """The content of a known container; an inert instance for anything else."""
        if type(maker) is Name and maker.module in {"builtins", "__builtin__", "collections"}:
            match maker.name, arguments:
                case "tuple", (tuple() | list() as inner,):
                    return tuple(inner)
                case "dict" | "OrderedDict", ():
                    return {}
        return Instance(maker, arguments)


def paged(file: RandomAccessFile) -> PickleBytes:
    """The bytes of a file, with one page at a time in memory."""
    return _Paged(file)  # type: ignore[return-value]  # it is overloaded by type


def arrays_in(data: PickleBytes, name: str, position: int = 0, record: StoredRange | None = None) -> Iterator[Tensor]:
    """The numeric arrays of the pickle at `position`, below `name`; record: see `array_tensor`."""
    yield from arrays_below(root_of(data, ArrayMeaning(), position), name, record)


def root_of(data: PickleBytes, meaning: Meaning, position: int = 0) -> object:
    """The value that the pickle at `position` describes."""
    try:
        return read_pickle(data, meaning, position, blobs_from=MIN_BLOB)[0]
    except Truncated as error:
        raise Refused(Reason.MALFORMED, "a pickle that ends before it is done") from error


def arrays_below(root: object, name: str, record: StoredRange | None = None) -> Iterator[Tensor]:
    """The numeric arrays below an object called `name`, named after the keys of the enclosing dictionaries."""
    for count, (inner, array) in enumerate(_named(root, name)):
        if count >= MAX_ARRAYS:
            raise Refused(Reason.LIMIT, f"more than {MAX_ARRAYS} arrays")
        tensor = array_tensor(inner, array, record)
        if tensor is not None:
            yield tensor


def _named(root: object, name: str) -> Iterator[tuple[str, Instance]]:
    """(name, array) of everything below the root, in file order; repeated objects count once."""
    pending: list[tuple[str, object, int]] = [(name, root, 0)]
    seen: set[int] = set()
    while pending:
        name, value, depth = pending.pop()
        if type(value) is Instance and is_array(value):
            yield without_surrogates(name), value
            continue
        if type(value) not in {dict, list, tuple, Instance} or id(value) in seen or depth > MAX_DEPTH:
            continue
        seen.add(id(value))
        pending += reversed([(_join(name, key), inner, depth + 1) for key, inner in _inside(value)])


def _inside(value: object) -> list[tuple[str | None, object]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, tuple) and len(value) == 2 and type(value[0]) is str:
        return [(None, value[1])]  # Paddle: a parameter's own name and its array
    if isinstance(value, list | tuple):
        return [(str(place), inner) for place, inner in enumerate(value)]
    if isinstance(value, Instance) and (objects := objects_in(value)):
        is_single = isinstance(value.state, tuple) and value.state[1] == ()  # an array of rank 0 holds one object
        return [(None if is_single else str(place), inner) for place, inner in enumerate(objects)]
    if isinstance(value, Instance):
        return [(None, inner) for inner in (value.entries, value.state) if isinstance(inner, dict)]
    return []


def _join(name: str, key: str | None) -> str:
    joined = name if key is None else f"{name}.{key}" if name else key
    if len(joined) > 10_000:
        raise Refused(Reason.LIMIT, f"a name of {len(joined)} characters", show(joined))
    return joined
