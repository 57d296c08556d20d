"""NumPy arrays inside pickles: their bytes stay in the file; nothing is called.

NumPy pickles an array as `_reconstruct(...)` with the state (version, shape, dtype, is Fortran order, bytes), or with
protocol 5 `_frombuffer(bytes, dtype, shape, order)` (numpy/_core/src/multiarray/methods.c, array_reduce).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from filterzoo import (
    DTYPES,
    Codec,
    Layout,
    Reason,
    Refused,
    Span,
    Step,
    StoredRange,
    Tensor,
)
from filterzoo_plugins.encodings.folding import packed
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.inert import Blob, Instance, Name

MIN_BLOB = 1
"""Byte strings of at least this length stay in the file."""
_MAX_RANK = 64
_MODULES = {"numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"}
_MODULES |= {"numpy.ma.core", "numpy.ma"}
_DTYPES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8"}
_DTYPES |= {"ml_dtypes.bfloat16": "BF16", "ml_dtypes.float8_e4m3fn": "F8_E4M3", "ml_dtypes.float8_e5m2": "F8_E5M2"}
_DTYPES |= {"ml_dtypes.float8_e4m3fnuz": "F8_E4M3FNUZ", "ml_dtypes.float8_e5m2fnuz": "F8_E5M2FNUZ"}
_NO_NUMBERS = ("S", "U", "M", "m", "O", "")
"""First letters of the dtypes of texts, dates and objects."""
_DTYPES |= {"u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL", "c8": "C64", "c16": "C128"}


def objects_in(array: Instance) -> list[object]:
    """The items of an array of objects, which NumPy pickles as a list; [] for any other array."""
    match array.state:
        case (_, tuple(), Instance() as kind, bool(), list() as objects) if _word(kind).startswith("O"):
            return objects
    return []


def is_array(value: object) -> bool:
    """Whether a pickle would build a NumPy array of anything but objects."""
    if type(value) is not Instance or type(value.maker) is not Name or objects_in(value):
        return False
    maker = value.maker
    return maker.module in _MODULES and maker.name in {"_reconstruct", "_frombuffer", "_mareconstruct"}


def array_tensor(name: str, array: Instance, record: StoredRange | None = None) -> Tensor | None:
    """The array's location in the file, or why it cannot be read; None for texts, dates and objects.

    record: the stored range with the pickle; None if the pickle is the file.
    """
    match array.arguments, array.state:
        case (Blob() | bytes() as data, Instance() as kind, tuple() as shape, str() as order), _:
            is_fortran = order == "F"
        case _, (_, tuple() as shape, Instance() as kind, bool() as is_fortran, data):
            pass
        case _, (_, tuple() as shape, Instance() as kind, bool() as is_fortran, _, _, _):
            data = "masked"  # a separate array says which elements are valid
        case _:
            raise Refused(Reason.MALFORMED, "an array without its shape, dtype and bytes", show(name))
    dtype, is_big = _dtype(kind)
    sides = tuple(side for side in shape if type(side) is int and 0 <= side < 1 << 48)
    if len(sides) != len(shape) or len(shape) > _MAX_RANK:
        raise Refused(Reason.MALFORMED, "an array whose shape is none", show(name))
    layout = Layout.OPEN if 3 <= len(sides) <= 5 else Layout.OI_K
    if dtype is None or type(data) is not Blob:
        if (dtype is None and _word(kind)[:1] in _NO_NUMBERS) or 0 in sides:
            return None
        why = "an array whose bytes are not in the pickle" if dtype else f"an array of type {show(_word(kind))}"
        why = "a masked array" if data == "masked" else why
        return Tensor(name=name, dtype=dtype or "F32", shape=sides, span=Span(0, 0), layout=layout, obstacle=why)
    length = prod(sides) * DTYPES[dtype].size
    if not length <= data.length <= (2 * length if data.is_text else length):
        raise Refused(Reason.MALFORMED, f"{data.length} bytes do not hold {dtype} of shape {shape}"[:160], show(name))
    whole = _stored(name, dtype, sides, data, record, is_fortran=is_fortran and len(sides) > 1, is_big=is_big)
    return replace(whole, layout=layout)


def _stored(
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    data: Blob,
    record: StoredRange | None,
    *,
    is_fortran: bool,
    is_big: bool,
) -> Tensor:
    """The array, or its computation from the stored bytes."""
    is_raw = record is None or record.codec is Codec.RAW
    span = Span(data.offset + (record.offset if record is not None and is_raw else 0), data.length)
    stored_in = () if record is None else (record,)
    if data.is_text:
        content = Tensor(name=name, dtype="U8", shape=(data.length,), span=span, stored_in=stored_in)
        whole = packed(content, shape, dtype, Step.TEXT, numbers=(int(is_fortran),))
    else:
        strides = tuple(prod(shape[:axis]) for axis in range(len(shape))) if is_fortran else None
        whole = Tensor(name=name, dtype=dtype, shape=shape, span=span, strides=strides, stored_in=stored_in)
    return packed(whole, shape, dtype, Step.SWAP, numbers=()) if is_big else whole


def _dtype(kind: Instance) -> tuple[str | None, bool]:
    """The dtype of numpy.dtype('f4', ...) with the state (version, byte order, ...); and whether it is big-endian."""
    dtype = _DTYPES.get(_word(kind))
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    return dtype, dtype is not None and DTYPES[dtype].size > 1 and order == ">"


def _word(kind: Instance) -> str:
    """The argument of numpy.dtype: the name of a type, or a class of another package."""
    is_dtype = type(kind.maker) is Name and (kind.maker.module, kind.maker.name) == ("numpy", "dtype")
    match kind.arguments[:1] if is_dtype else ():
        case (str() as word,):
            return word
        case (Name() as added,):
            return f"{added.module}.{added.name}"
    return ""
