"""TensorFlow checkpoints before version 1.0: one sorted table, whose values contain the variables.

The layout: saved_tensor_slice.proto. The empty key holds the list of variables; every other key a SavedSlice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from filterzoo import Layout, LeftOut, RandomAccessFile, Reason, Refused, Span, Tensor
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader, length_tag, varint_tag
from filterzoo_plugins.encodings.sorted_table import SortedTable
from filterzoo_plugins.formats.tensorflow.types import read_numbers, read_shape

_Variable = tuple[int, tuple[int, ...]]
"""Type and shape."""
_META, _DATA = length_tag(1), length_tag(2)


def tensors(file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
    """Every variable that is stored as a whole, in table order; LeftOut for kernels stored in slices."""
    reader = WireReader(file)
    variables: dict[str, _Variable] = {}
    seen: set[str] = set()
    for entry in SortedTable(file).entries():
        for tag, length, at in reader.fields(entry.offset, entry.offset + entry.length):
            if tag == _META and not entry.key:
                variables |= _variables(reader, at, at + length)
            elif tag == _DATA and entry.key:
                name, is_whole, tensor = _slice(reader, at, at + length, variables)
                if is_whole and name in seen:
                    raise Refused(Reason.MALFORMED, "two variables of one name", show(name))
                if is_whole or name not in seen:
                    yield tensor
                seen.add(name)


def _variables(reader: WireReader, start: int, end: int) -> dict[str, _Variable]:
    """Name -> type and shape, from each SavedSliceMeta."""
    variables: dict[str, _Variable] = {}
    for tag, length, at in reader.fields(start, end):
        if tag != length_tag(1):
            continue
        name, kind, shape = "", 0, None
        for inner, size, offset in reader.fields(at, at + length):
            if inner == length_tag(1):
                name = reader.text(offset, size)
            elif inner == length_tag(2):
                shape = read_shape(reader, offset, offset + size, show(name))
            elif inner == varint_tag(3):
                kind = size
        if shape is not None and -1 not in shape:
            variables[name] = (kind, shape)
    return variables


def _slice(
    reader: WireReader, start: int, end: int, variables: dict[str, _Variable]
) -> tuple[str, bool, Tensor | LeftOut]:
    """(name, whether it is the whole variable, its data)."""
    name, is_whole, proto = "", True, (0, 0)
    for tag, length, at in reader.fields(start, end):
        if tag == length_tag(1):
            name = reader.text(at, length)
        elif tag == length_tag(2):
            is_whole = not any(
                inner == varint_tag(2)
                for part, size, offset in reader.fields(at, at + length)
                if part == length_tag(1)
                for inner, _, _ in reader.fields(offset, offset + size)
            )
        elif tag == length_tag(3):
            proto = (at, at + length)
    where = show(name)
    if name not in variables:
        raise Refused(Reason.MALFORMED, "a variable that is not in the list of variables", where)
    kind, shape = variables[name]
    if not is_whole:
        return name, False, LeftOut(name, str(Reason.UNSUPPORTED), "a variable that is stored in slices")
    # The data have no type or shape; these are in the list of variables.
    numbers = replace(read_numbers(reader, *proto, name), type=kind, shape=shape)
    try:
        return name, True, replace(numbers.tensor(), layout=Layout.K_IO)
    except Unfoldable as error:
        if 3 <= len(shape) <= 5:
            return name, True, LeftOut(name, str(Reason.UNSUPPORTED), str(error))
        _, offset, length = numbers.numbers or (0, proto[0], 0)
        plain = Tensor(name=name, dtype="U8", shape=(length,), span=Span(offset, length), layout=Layout.OTHER)
        return name, True, plain
