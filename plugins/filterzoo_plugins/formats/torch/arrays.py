"""Bare pickles of NumPy arrays: the arrays' bytes stand inside the pickle and stay there; nothing is called.

What numpy pickles: `_reconstruct(...)` with the state (version, shape, dtype, is Fortran order, bytes), or with
protocol 5 `_frombuffer(bytes, dtype, shape, order)` (numpy/_core/src/multiarray/methods.c, array_reduce).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from filterzoo import DTYPES, Layout, RandomAccessFile, Reason, Refused, Span, Tensor
from filterzoo_plugins.encodings.names import show, without_surrogates
from filterzoo_plugins.encodings.pickle.inert import Blob, Instance, Name
from filterzoo_plugins.encodings.pickle.machine import read_pickle
from filterzoo_plugins.encodings.pickle.stack import Truncated

MIN_BLOB = 256
"""Byte strings from this length on stay in the file; a shorter one is an array of no convolution that matters."""
MAX_ARRAYS = 200_000
MAX_DEPTH = 50
_PAGE = 1 << 16
_MODULES = {"numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"}
_DTYPES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8"}
_DTYPES |= {"u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL", "c8": "C64", "c16": "C128"}


class _Paged:
    """A file as bytes, of which one page at a time is in memory."""

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


class _ArrayMeaning:
    """Knows tuples, dictionaries and arrays; every other call stays inert."""

    def persistent(self, identity: object) -> object:
        """NumPy writes none."""
        del identity
        raise Refused(Reason.UNSUPPORTED, "a pickle with persistent ids that is no torch checkpoint")

    def call(self, maker: object, arguments: tuple[object, ...]) -> object:
        """What the few containers hold; an inert instance for anything else."""
        if type(maker) is Name and maker.module in {"builtins", "__builtin__", "collections"}:
            match maker.name, arguments:
                case "tuple", (tuple() | list() as inner,):
                    return tuple(inner)
                case "dict" | "OrderedDict", ():
                    return {}
        return Instance(maker, arguments)


def pickled_arrays(file: RandomAccessFile) -> Iterator[Tensor]:
    """The arrays of numbers under the names of the dictionaries that hold them."""
    try:
        root, _ = read_pickle(_Paged(file), _ArrayMeaning(), blobs_from=MIN_BLOB)  # type: ignore[arg-type]  # it is overloaded by type
    except Truncated as error:
        raise Refused(Reason.MALFORMED, "a pickle that ends before it is done") from error
    count = 0
    for name, array in _named(root):
        tensor = _tensor(name, array)
        if tensor is not None:
            count += 1
            if count > MAX_ARRAYS:
                raise Refused(Reason.LIMIT, f"more than {MAX_ARRAYS} arrays")
            yield tensor
    if not count:
        raise Refused(Reason.UNSUPPORTED, "a bare pickle without arrays of numbers: no checkpoint", "byte 0")


def _named(root: object) -> Iterator[tuple[str, Instance]]:
    """(name, array) of everything below the root, in the order of the file; what occurs twice counts once."""
    pending: list[tuple[str, object, int]] = [("", root, 0)]
    seen: set[int] = set()
    while pending:
        name, value, depth = pending.pop()
        if type(value) is Instance and _is_array(value):
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
    if isinstance(value, Instance):
        return [(None, inner) for inner in (value.entries, value.state) if isinstance(inner, dict)]
    return []


def _join(name: str, key: str | None) -> str:
    joined = name if key is None else f"{name}.{key}" if name else key
    if len(joined) > 10_000:
        raise Refused(Reason.LIMIT, f"a name of {len(joined)} characters", show(joined))
    return joined


def _is_array(value: Instance) -> bool:
    maker = value.maker
    is_numpy = type(maker) is Name and maker.module in _MODULES
    return is_numpy and isinstance(maker, Name) and maker.name in {"_reconstruct", "_frombuffer"}


def _tensor(name: str, array: Instance) -> Tensor | None:
    """The array as it lies in the file; None for text, objects and small ones."""
    match array.arguments, array.state:
        case (Blob() as data, Instance() as kind, tuple() as shape, str() as order), _:
            is_fortran = order == "F"
        case _, (_, tuple() as shape, Instance() as kind, bool() as is_fortran, data):
            pass
        case _:
            raise Refused(Reason.MALFORMED, "an array without its shape, dtype and bytes", show(name))
    dtype = _dtype(kind, name)
    if type(data) is Instance and dtype is not None and 3 <= len(shape) <= 5:
        raise Refused(Reason.UNSUPPORTED, "arrays whose bytes are kept as text (pickle protocol 2)", show(name))
    if dtype is None or type(data) is not Blob:
        return None
    sides = tuple(side for side in shape if type(side) is int and 0 <= side < 1 << 48)
    if len(sides) != len(shape) or len(shape) > 64 or prod(sides) * DTYPES[dtype].size != data.length:
        raise Refused(Reason.MALFORMED, f"{data.length} bytes do not hold {dtype} of shape {shape}"[:160], show(name))
    strides = tuple(prod(sides[:axis]) for axis in range(len(sides))) if is_fortran and len(sides) > 1 else None
    is_open = 3 <= len(sides) <= 5
    return Tensor(
        name=name,
        dtype=dtype,
        shape=sides,
        span=Span(data.offset, data.length),
        strides=strides,
        layout=Layout.OPEN if is_open else Layout.OI_K,
    )


def _dtype(kind: Instance, name: str) -> str | None:
    """The dtype of numpy.dtype('f4', ...) with the state (version, byte order, ...)."""
    is_dtype = type(kind.maker) is Name and (kind.maker.module, kind.maker.name) == ("numpy", "dtype")
    word = kind.arguments[0] if is_dtype and kind.arguments else None
    dtype = _DTYPES.get(word) if isinstance(word, str) else None
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if dtype is not None and DTYPES[dtype].size > 1 and order not in {"<", "=", "|"}:
        raise Refused(Reason.UNSUPPORTED, "big-endian numbers", show(name))
    return dtype
