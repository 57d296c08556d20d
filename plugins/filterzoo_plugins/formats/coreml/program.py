"""Core ML programs (MIL.proto): blocks of operations, with weights as inline values or in a blob file."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from filterzoo import DTYPES, Layout, NumberClass, Reason, Refused, Span, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader, length_tag, signed
from filterzoo_plugins.formats.coreml.blobs import Blobs
from filterzoo_plugins.formats.coreml.operations import described, is_convolution, is_transposed, looks_like_one

MAX_OPERATIONS = 300_000
MAX_NESTING = 16
MAX_AXES = 16
MAX_LIST = 64
_DTYPES = {
    1: "BOOL",
    10: "F16",
    11: "F32",
    12: "F64",
    13: "BF16",
    21: "I8",
    22: "I16",
    23: "I32",
    24: "I64",
    31: "U8",
    32: "U16",
    33: "U32",
    34: "U64",
    40: "F8_E4M3",
    41: "F8_E5M2",
}
_FLOATS, _INTEGERS, _BOOLS, _STRINGS, _BYTES = 1, 2, 3, 4, 7
_DEQUANTIZE = "constexpr_affine_dequantize"
_CONSTANT = "const"


@dataclass(frozen=True, slots=True)
class Value:
    """Facts about a value. plain: short lists of numbers, and texts. live: it depends on an input."""

    tensor: Tensor | None = None
    plain: tuple[int, ...] | str | None = None
    depth: int = 0
    live: bool = False
    obstacle: str = ""


@dataclass(slots=True)
class _Operation:
    type: str = ""
    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    attributes: dict[str, Value] = field(default_factory=dict)


class ProgramReader:
    """Reads one program. After `run`: `convolutions`, and `stored`, its arrays by name."""

    def __init__(self, reader: WireReader, start: int, end: int) -> None:
        self._reader = reader
        self._place = (start, end)
        self._blobs: Blobs | None = None
        self.convolutions = Convolutions()
        self.stored: dict[str, Tensor] = {}
        self._read: set[str] = set()
        self._count = 0

    def run(self, blobs: Blobs) -> None:
        """Read the first block of every function; the other blocks are specialisations for other versions."""
        self._blobs = blobs
        for entry in self._all(*self._place, 2):
            for function in self._all(*entry, 2):
                for specialised in self._all(*function, 3)[:1]:
                    for block in self._all(*specialised, 2):
                        self._block(*block, {}, 0)

    def rest(self) -> Iterator[Tensor]:
        """The arrays that are not convolution weights."""
        return (tensor for name, tensor in self.stored.items() if name not in self._read)

    def _block(self, start: int, end: int, scope: Mapping[str, Value], nesting: int) -> None:
        if nesting > MAX_NESTING:
            raise Refused(Reason.LIMIT, f"blocks more than {MAX_NESTING} deep in each other", f"byte {start}")
        known = dict(scope)
        for at, stop in self._all(start, end, 3):
            self._count += 1
            if self._count > MAX_OPERATIONS:
                raise Refused(Reason.LIMIT, f"more than {MAX_OPERATIONS} operations", f"byte {at}")
            operation = self._operation(at, stop, known)
            value = self._result(operation)
            known |= dict.fromkeys(operation.outputs, value)
            for block in operation.blocks:
                self._block(*block, known, nesting + 1)

    def _operation(self, start: int, end: int, known: Mapping[str, Value]) -> _Operation:
        operation = _Operation()
        attributes: list[tuple[int, int]] = []
        for tag, length, at in self._reader.fields(start, end):
            match tag:
                case 0x0A:
                    operation.type = self._reader.text(at, length)
                case 0x12:
                    key, value = self._argument(at, at + length, known)
                    operation.inputs[key] = value
                case 0x1A:
                    operation.outputs.append(self._text(at, at + length, 1))
                case 0x22:
                    operation.blocks.append((at, at + length))
                case 0x2A:
                    attributes.append((at, at + length))
        name = operation.outputs[0] if operation.outputs else operation.type
        for at, stop in attributes:
            key = self._text(at, stop, 1)
            for place in self._all(at, stop, 2):
                operation.attributes[key] = self._value(*place, name if key == "val" else f"{name}.{key}")
        return operation

    def _argument(self, start: int, end: int, known: Mapping[str, Value]) -> tuple[str, Value]:
        """The name of an input, and its value; a list of values is not a constant."""
        key = self._text(start, end, 1)
        found: list[Value] = []
        for argument in self._all(start, end, 2):
            for at, behind in self._all(*argument, 1):
                name = self._text(at, behind, 1)
                if name:
                    found.append(known.get(name, Value(live=True)))
                found += [self._value(*place, key) for place in self._all(at, behind, 2)]
        if len(found) == 1:
            return key, found[0]
        depth = max((value.depth for value in found), default=0)
        return key, Value(depth=depth, live=True, obstacle="several values")

    def _result(self, operation: _Operation) -> Value:
        inputs = operation.inputs.values()
        live = [value.depth for value in inputs if value.live]
        depth = 1 + max(live, default=-1)
        name = operation.outputs[0] if operation.outputs else operation.type
        if operation.type == _CONSTANT:
            value = operation.attributes.get("val", Value(obstacle="a constant without a value"))
            if value.tensor is not None:
                self.stored[name] = value.tensor
            return value
        if looks_like_one(operation.type):
            with self.convolutions.reading(show(name), depth):
                self._convolution(operation, name, depth)
        if live or operation.type == _CONSTANT:
            return Value(depth=depth, live=True)
        if operation.type == _DEQUANTIZE:
            return self._dequantised({**operation.attributes, **operation.inputs}, name)
        return Value(obstacle=f"it passes {show(operation.type)}, which cannot be followed")

    def _convolution(self, operation: _Operation, name: str, depth: int) -> None:
        where = show(name)
        weight = operation.inputs.get("weight")
        if weight is None:
            raise Refused(Reason.MALFORMED, "a convolution without a weight", where)
        if weight.live:
            return
        if not is_convolution(operation.type):
            detail = f"the layout of the weights of {show(operation.type)} is not known"
            raise Refused(Reason.UNSUPPORTED, detail, where)
        if weight.tensor is None:
            raise Refused(Reason.UNSUPPORTED, f"a weight that cannot be read: {weight.obstacle}", where)
        tensor = weight.tensor
        if DTYPES[tensor.dtype].number_class is not NumberClass.FLOAT:
            raise Refused(Reason.UNSUPPORTED, f"a weight of type {tensor.dtype} without a scale", where)
        plain = {key: value.plain for key, value in operation.inputs.items() if value.plain is not None}
        convolution = described(operation.type, plain, tensor.shape, depth, where)
        self._read.add(tensor.name)
        layout = Layout.IO_K if is_transposed(operation.type) else Layout.OI_K
        self.convolutions.tensors.append(replace(tensor, layout=layout, convolution=convolution, evidence=None))

    def _dequantised(self, values: Mapping[str, Value], name: str) -> Value:
        """scale * (q - zero point) along an axis (iOS 16)."""
        parts = [values.get(key, Value()) for key in ("quantized_data", "scale", "zero_point")]
        axis = values.get("axis", Value()).plain
        data, scale, zero = (part.tensor for part in parts)
        if data is None or scale is None or zero is None or not isinstance(axis, tuple) or len(axis) != 1:
            return Value(obstacle="a dequantisation whose parts are not known")
        self.stored |= {part.name: part for part in (data, scale, zero)}
        self._read |= {part.name for part in (data, scale, zero)}
        try:
            factors = [folding.along(part, data, axis[0]) for part in (scale, zero)]
            weight = folding.dequantised(data, *factors)
        except Unfoldable as error:
            return Value(obstacle=str(error))
        self._read.add(name)
        return Value(tensor=replace(weight, name=name))

    def _value(self, start: int, end: int, name: str) -> Value:
        """A Value: its type, and its elements, inline or in a blob file."""
        dtype, immediate, blob = 0, None, None
        shape: tuple[int, ...] = ()
        for tag, length, at in self._reader.fields(start, end):
            if tag == length_tag(2):
                dtype, shape = self._type(at, at + length, name)
            elif tag == length_tag(3):
                immediate = (at, at + length)
            elif tag == length_tag(5):
                blob = (at, at + length)
        known = _DTYPES.get(dtype, "")
        if blob is not None and self._blobs is not None:
            if not known:
                return Value(obstacle=f"numbers of Core ML's type {dtype}")
            offset = next((v for t, v, _ in self._reader.fields(*blob) if t == 2 << 3), 0)
            span = self._blobs.span(self._text(*blob, 1), offset, prod(shape) * DTYPES[known].size)
            return Value(tensor=_tensor(name, known, shape, span))
        if immediate is None:
            return Value(obstacle="a value that is nowhere")
        return next((self._immediate(*place, name, known, shape) for place in self._all(*immediate, 1)), Value())

    def _immediate(self, start: int, end: int, name: str, dtype: str, shape: tuple[int, ...]) -> Value:
        """A TensorValue: one of several lists."""
        for tag, length, at in self._reader.fields(start, end):
            kind = tag >> 3
            for values, size, offset in self._reader.fields(at, at + length) if tag & 7 == 2 else ():
                if values != length_tag(1):
                    continue
                if kind == _STRINGS:
                    return Value(plain=self._reader.text(offset, size))
                plain: tuple[int, ...] | None = None
                if kind in {_INTEGERS, 5} and size <= 10 * MAX_LIST:
                    plain = tuple(map(signed, self._reader.varints(offset, size, MAX_LIST)))
                elif kind == _BYTES and dtype in {"I8", "U8"} and size <= MAX_LIST:
                    code = "b" if dtype == "I8" else "B"
                    plain = struct.unpack(f"<{size}{code}", self._reader.read(offset, size))
                is_array = kind in {_FLOATS, 6, _BYTES} and dtype
                if not is_array:
                    return Value(plain=plain, obstacle="no array of stored numbers")
                if prod(shape) * DTYPES[dtype].size != size:
                    raise Refused(Reason.MALFORMED, f"{size} bytes for {dtype} of shape {shape}"[:160], show(name))
                return Value(tensor=_tensor(name, dtype, shape, Span(offset, size)), plain=plain)
        return Value(obstacle="a value without numbers")

    def _type(self, start: int, end: int, name: str) -> tuple[int, tuple[int, ...]]:
        """Number type and shape of a TensorType."""
        dtype, sides = 0, list[int]()
        for tensor in self._all(start, end, 1):
            for tag, value, at in self._reader.fields(*tensor):
                if tag == 1 << 3:
                    dtype = value
                elif tag == length_tag(3):
                    constant = next(iter(self._all(at, at + value, 1)), None)
                    if constant is None:
                        continue
                    sides.append(next((v for t, v, _ in self._reader.fields(*constant) if t == 1 << 3), 0))
                    if len(sides) > MAX_AXES:
                        raise Refused(Reason.LIMIT, f"more than {MAX_AXES} axes", show(name))
        return dtype, tuple(sides)

    def _text(self, start: int, end: int, number: int) -> str:
        found = self._all(start, end, number)
        return self._reader.text(found[0][0], found[0][1] - found[0][0]) if found else ""

    def _all(self, start: int, end: int, number: int) -> list[tuple[int, int]]:
        """(start, end) of a repeated field."""
        wanted = length_tag(number)
        return [(at, at + length) for tag, length, at in self._reader.fields(start, end) if tag == wanted]


def _tensor(name: str, dtype: str, shape: tuple[int, ...], span: Span) -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=shape, span=span, layout=Layout.OTHER)
