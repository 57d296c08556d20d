"""The tables of a TFLite model (schema.fbs of TensorFlow Lite, version 3) as records, without elements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, prod

from filterzoo import DTYPES, NumberClass, Quantisation, Reason, Refused, Span, Tensor
from filterzoo_plugins.encodings.flatbuffer import FlatBuffer, Table
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.formats.tflite.packed import BITS, few_bits, sparse

VERSION = 3
MAX_SUBGRAPHS = 1000
MAX_TENSORS = 200_000
MAX_OPERATORS = 200_000
MAX_RANK = 64
MAX_SCALES = 1 << 16
"""Most scales of one tensor; there are at most as many as channels."""
MAX_ARGUMENTS = 4096
"""Most inputs, or outputs, of one operator or subgraph."""

_DTYPES = {
    0: "F32",
    1: "F16",
    2: "I32",
    3: "U8",
    4: "I64",
    6: "BOOL",
    7: "I16",
    8: "C64",
    9: "I8",
    10: "F64",
    11: "C128",
    12: "U64",
    15: "U32",
    16: "U16",
    18: "BF16",
    21: "F8_E4M3",
    22: "F8_E5M2",
}
"""TensorType under safetensors' names. The others are strings, resources and types smaller than a byte."""
_CUSTOM = 32
"""BuiltinOperator.CUSTOM: `custom_code` names the operator."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor of a subgraph.

    span: its stored bytes, None if it is computed at run time. dtype: a key of DTYPES, or "". packed: a computed
    tensor, if its elements are packed. obstacle: why no convolution can read it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    span: Span | None
    is_variable: bool
    obstacle: str | None
    table: Table
    packed: Tensor | None = None

    @property
    def count(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    def tensor(self) -> Tensor:
        """Its value, with scales; Unfoldable if it has none, Refused if the scales are invalid."""
        if self.span is None or self.obstacle:
            raise Unfoldable(self.obstacle or "it is empty")
        is_integer = DTYPES[self.dtype].number_class is NumberClass.INTEGER
        quantisation = self.quantisation() if is_integer else None
        if self.packed is not None:
            return replace(self.packed, quantisation=quantisation)
        return Tensor(name=self.name, dtype=self.dtype, shape=self.shape, span=self.span, quantisation=quantisation)

    def quantisation(self) -> Quantisation | None:
        """Scales and zero points along the stored axis, None without them; Refused (malformed) if they do not fit."""
        parameters = self.table.table(4)
        scales = parameters.numbers(2, "f", MAX_SCALES) if parameters else ()
        if parameters is None or not scales:
            return None
        where = ascii(self.name)[:80]
        points = parameters.integers(3, "q", MAX_SCALES) or (0,)
        axis = parameters.integer(6, "i")
        if parameters.integer(4, "B"):
            raise Refused(Reason.UNSUPPORTED, "a quantisation of its own kind", where)
        if not all(isfinite(scale) for scale in scales) or len(points) not in {1, len(scales)}:
            raise Refused(Reason.MALFORMED, f"{len(scales)} scales and {len(points)} zero points fit nothing", where)
        points = points * len(scales) if len(points) == 1 else points
        if len(scales) == 1:
            return Quantisation(scales, points)
        if not 0 <= axis < len(self.shape) or self.shape[axis] != len(scales):
            detail = f"{len(scales)} scales do not fit axis {axis} of shape {self.shape}"
            raise Refused(Reason.MALFORMED, detail, where)
        return Quantisation(scales, points, axis)


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """One operation. custom: the name of a custom operator. options, options_2: their tables, if any."""

    code: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: Table | None
    options_2: Table | None


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A graph; -1 among an operator's inputs means that the input is omitted."""

    tensors: tuple[TensorEntry, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[OperatorEntry, ...]


def read_subgraphs(buffer: FlatBuffer) -> list[Subgraph]:
    """Every subgraph of the file, the main one first.

    Refused for another version (unsupported), if an index or offset is out of bounds (malformed), or if a limit above
    is exceeded (limit).
    """
    model = buffer.root()
    if model.integer(0, "I") != VERSION:
        raise Refused(Reason.UNSUPPORTED, f"TFLite schema version {model.integer(0, 'I')} is not read")
    codes = [(_builtin_code(code), code.text(1)) for code in model.tables(1, MAX_OPERATORS)]
    spans = [_span(entry) for entry in model.tables(4, MAX_TENSORS)]
    subgraphs = [_subgraph(table, codes, spans) for table in model.tables(2, MAX_SUBGRAPHS)]
    if not subgraphs:
        raise Refused(Reason.MALFORMED, "a TFLite model without a graph")
    return subgraphs


def read_licence(buffer: FlatBuffer) -> str | None:
    """The licence in the model's metadata (metadata_schema.fbs), which are a FlatBuffer in one of the buffers."""
    model = buffer.root()
    for entry in model.tables(6, MAX_TENSORS):
        if entry.text(0) == "TFLITE_METADATA":
            number = entry.integer(1, "I")
            found = next((t for place, t in enumerate(model.tables(4, MAX_TENSORS)) if place == number), None)
            span = _span(found) if found else None
            if span:
                return FlatBuffer(buffer.file, span.offset, span.length).root().text(5) or None
    return None


def _builtin_code(table: Table) -> int:
    """The operator's code: those above 127 have a separate field, and the larger one counts."""
    return max(table.integer(0, "b"), table.integer(3, "i"))


def _span(table: Table) -> Span | None:
    """The location of a Buffer's bytes: in its vector, or, in files above 2 GB, after the FlatBuffer."""
    buffer = table.buffer
    offset, size = table.integer(1, "Q"), table.integer(2, "Q")
    if offset > 1:
        buffer.file.check_bounds(offset, size)
        return Span(offset, size) if size else None
    position, length = table.vector(0, 1)
    return Span(buffer.start + position, length) if length else None


def _subgraph(table: Table, codes: list[tuple[int, str]], spans: list[Span | None]) -> Subgraph:
    tensors = tuple(_tensor(entry, spans) for entry in table.tables(0, MAX_TENSORS))
    operators = tuple(_operator(entry, codes, len(tensors)) for entry in table.tables(3, MAX_OPERATORS))
    inputs, outputs = _indices(table, 1, len(tensors)), _indices(table, 2, len(tensors))
    if -1 in inputs + outputs:
        raise Refused(Reason.MALFORMED, "a graph leaves out one of its own inputs or outputs", f"byte {table.position}")
    return Subgraph(tensors, inputs, outputs, operators)


def _tensor(table: Table, spans: list[Span | None]) -> TensorEntry:
    name, number = table.text(3), table.integer(2, "I")
    shape = table.integers(0, "i", MAX_RANK)
    if number >= len(spans):
        raise Refused(Reason.MALFORMED, f"buffer {number} of {len(spans)}", ascii(name)[:80])
    kind = table.integer(1, "b")
    dtype = _DTYPES.get(kind, "I8" if kind in BITS and BITS[kind][1] else "U8" if kind in BITS else "")
    span, obstacle, packed = spans[number], None, None
    sparsity = table.table(6)
    if not dtype:
        obstacle = f"numbers of type {kind} are not read"
    elif span and sparsity:
        try:
            packed = sparse(name, shape, dtype, span, sparsity)
        except Unfoldable as error:
            obstacle = f"it is stored sparsely: {error}"
    elif span and kind in BITS:
        packed = few_bits(name, shape, kind, span)
    elif span and (min(shape, default=0) < 0 or span.length != prod(shape) * DTYPES[dtype].size):
        raise Refused(
            Reason.MALFORMED, f"shape {shape[:8]} of {dtype} does not fill {span.length} bytes", ascii(name)[:80]
        )
    is_variable = bool(table.integer(5, "B"))
    return TensorEntry(name, dtype, shape, None if is_variable else span, is_variable, obstacle, table, packed)


def _operator(table: Table, codes: list[tuple[int, str]], tensors: int) -> OperatorEntry:
    number = table.integer(0, "I")
    if number >= len(codes):
        raise Refused(Reason.MALFORMED, f"operator code {number} of {len(codes)}", f"byte {table.position}")
    code, name = codes[number]
    return OperatorEntry(
        code=code,
        custom=name if code == _CUSTOM else "",
        inputs=_indices(table, 1, tensors),
        outputs=_indices(table, 2, tensors),
        options_type=table.integer(3, "B"),
        options=table.table(4),
        options_2=table.table(12),
    )


def _indices(table: Table, slot: int, tensors: int) -> tuple[int, ...]:
    indices = table.integers(slot, "i", MAX_ARGUMENTS)
    if any(not -1 <= index < tensors for index in indices):
        raise Refused(Reason.MALFORMED, f"an index beyond the {tensors} tensors", f"byte {table.position}")
    return indices
