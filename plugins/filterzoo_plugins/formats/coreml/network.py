"""Core ML's neural networks (NeuralNetwork.proto): layers with named inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from filterzoo import Context, Convolution, Kind, Layout, Reason, Refused, Span, Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader, length_tag
from filterzoo_plugins.formats.coreml.blobs import Blobs

MAX_LAYERS = 200_000
MAX_NESTING = 16
MAX_LIST = 64
_CONVOLUTION, _VOLUME = 100, 1471
_BRANCH, _LOOP = 605, 615
_NETWORKS_IN = {_BRANCH: (1, 2), _LOOP: (3, 4)}
_MAX_SIDE = 1 << 31

Numbers = dict[int, list[int]]
"""Field -> varints of a message."""


@dataclass(slots=True)
class _Layer:
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    kinds: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Field -> byte range of the parameters."""


@dataclass(slots=True)
class _Weights:
    """A WeightParams. scale, offset: byte ranges of floats."""

    values: list[tuple[str, int, int]] = field(default_factory=list)
    bits: int = 0
    scale: tuple[int, int] | None = None
    offset: tuple[int, int] | None = None
    has_table: bool = False


class NetworkReader:
    """Reads one network. After `run`: `convolutions`, and `stored`, its arrays by name."""

    def __init__(self, reader: WireReader, start: int, end: int) -> None:
        self._reader = reader
        self._place = (start, end)
        self.convolutions = Convolutions()
        self.stored: dict[str, Tensor] = {}
        self._read: set[str] = set()
        self._count = 0

    def run(self, blobs: Blobs) -> None:
        """Read all layers; Refused if one is malformed."""
        del blobs
        self._network(*self._place, {}, 0)

    def rest(self) -> Iterator[Tensor]:
        """The arrays that are not convolution weights."""
        return (tensor for name, tensor in self.stored.items() if name not in self._read)

    def _network(self, start: int, end: int, depth_of: dict[str, int], nesting: int) -> None:
        if nesting > MAX_NESTING:
            raise Refused(Reason.LIMIT, f"networks more than {MAX_NESTING} deep in each other", f"byte {start}")
        for tag, length, at in self._reader.fields(start, end):
            if tag != length_tag(1):
                continue
            self._count += 1
            if self._count > MAX_LAYERS:
                raise Refused(Reason.LIMIT, f"more than {MAX_LAYERS} layers", f"byte {at}")
            layer = self._layer_or_unsupported(at, at + length)
            depth = 1 + max((depth_of.get(name, 0) for name in layer.inputs), default=0)
            depth_of |= dict.fromkeys(layer.outputs, depth)
            for kind, place in layer.kinds.items():
                if kind in {_CONVOLUTION, _VOLUME}:
                    with self.convolutions.reading(show(layer.name), depth):
                        self._convolution(layer, kind, place, depth)
                for tag_inside, size, offset in self._reader.fields(*place) if kind in _NETWORKS_IN else ():
                    if tag_inside >> 3 in _NETWORKS_IN[kind]:
                        self._network(offset, offset + size, depth_of, nesting + 1)

    def _layer_or_unsupported(self, start: int, end: int) -> _Layer:
        """Refused (unsupported) for an invalid layer: without magic bytes, the file may be of another kind."""
        try:
            return self._layer(start, end)
        except Refused as error:
            if error.reason is not Reason.MALFORMED:
                raise
            detail = f"a Core ML model with a layer that cannot be read: {error.detail}"
            raise Refused(Reason.UNSUPPORTED, detail, error.where) from error

    def _layer(self, start: int, end: int) -> _Layer:
        layer = _Layer()
        for tag, length, at in self._reader.fields(start, end):
            match tag:
                case 0x0A:
                    layer.name = self._reader.text(at, length)
                case 0x12:
                    layer.inputs.append(self._reader.text(at, length))
                case 0x1A:
                    layer.outputs.append(self._reader.text(at, length))
                case _ if tag & 7 == 2 and tag >> 3 >= _CONVOLUTION:
                    layer.kinds[tag >> 3] = (at, at + length)
        return layer

    def _convolution(self, layer: _Layer, kind: int, place: tuple[int, int], depth: int) -> None:
        where = show(layer.name)
        numbers, weights, padding = self._parameters(kind, place)
        if not weights.values and len(layer.inputs) > 1:
            return  # the second input is a weight computed at run time
        described = _described(kind, numbers, padding, depth, where)
        is_up = described.kind is Kind.TRANSPOSED
        shape = _shape(kind, numbers, is_up=is_up, groups=described.groups or 1, where=where)
        tensor = self._tensor(f"{layer.name}.weights", weights, shape, is_up=is_up, where=where)
        layout = Layout.IO_K if is_up else Layout.OI_K
        self.convolutions.tensors.append(replace(tensor, layout=layout, convolution=described, evidence=None))

    def _parameters(self, kind: int, place: tuple[int, int]) -> tuple[Numbers, _Weights, list[int] | None]:
        """Parameters of a convolution, its weights, and the borders of a valid padding."""
        numbers: Numbers = {}
        weights, padding = _Weights(), None
        for tag, value, at in self._reader.fields(*place):
            number = tag >> 3
            if tag & 7 == 0:
                numbers.setdefault(number, []).append(value)
            elif tag == length_tag(90 if kind == _CONVOLUTION else 60):
                weights = self._weights(at, at + value)
            elif kind == _CONVOLUTION and tag == length_tag(50):
                padding = self._borders(at, at + value)
            elif kind == _CONVOLUTION and number in {20, 30, 40} and tag & 7 == 2:
                numbers.setdefault(number, []).extend(self._reader.varints(at, value, MAX_LIST))
            if len(numbers.get(number, ())) > MAX_LIST:
                raise Refused(Reason.LIMIT, f"more than {MAX_LIST} numbers where few belong", f"byte {at}")
        return numbers, weights, padding

    def _borders(self, start: int, end: int) -> list[int]:
        """(start, end) of each axis, of ValidPadding; [] if none are stated."""
        found: list[int] = []
        for amounts, length, at in self._reader.fields(start, end):
            for border, size, offset in self._reader.fields(at, at + length) if amounts == length_tag(1) else ():
                if border == length_tag(10):
                    edges = {tag >> 3: value for tag, value, _ in self._reader.fields(offset, offset + size)}
                    found += [edges.get(1, 0), edges.get(2, 0)]
        return found

    def _weights(self, start: int, end: int) -> _Weights:
        weights = _Weights()
        for tag, length, at in self._reader.fields(start, end):
            match tag >> 3:
                case 1 if tag & 7 == 2:
                    weights.values.append(("F32", at, length))
                case 2 if length:
                    weights.values.append(("F16", at, length))
                case 30 | 31 if length:
                    weights.values.append(("U8" if tag >> 3 == 30 else "I8", at, length))
                case 40:
                    self._quantisation(weights, at, at + length)
        return weights

    def _quantisation(self, weights: _Weights, start: int, end: int) -> None:
        for tag, value, at in self._reader.fields(start, end):
            if tag >> 3 == 1 and tag & 7 == 0:
                weights.bits = value
            elif tag == length_tag(102):
                weights.has_table = True
            elif tag == length_tag(101):
                for inner, length, offset in self._reader.fields(at, at + value):
                    if inner == length_tag(1):
                        weights.scale = (offset, length)
                    elif inner == length_tag(2):
                        weights.offset = (offset, length)

    def _tensor(self, name: str, weights: _Weights, shape: tuple[int, ...], *, is_up: bool, where: str) -> Tensor:
        if len(weights.values) != 1:
            raise Refused(Reason.MALFORMED, f"weights in {len(weights.values)} forms", where)
        dtype, offset, length = weights.values[0]
        size = {"F32": 4, "F16": 2}.get(dtype, 1)
        is_quantised = size == 1
        if is_quantised and (weights.bits != 8 or weights.has_table or weights.scale is None or dtype != "U8"):
            raise Refused(Reason.UNSUPPORTED, f"weights of {weights.bits} bits, or with a look-up table", where)
        if prod(shape) * size != length:
            raise Refused(Reason.MALFORMED, f"{length} bytes for {dtype} of shape {shape}"[:160], where)
        stored = Tensor(name=name, dtype=dtype, shape=shape, span=Span(offset, length), layout=Layout.OTHER)
        self.stored[name] = stored
        self._read.add(name)
        if not is_quantised:
            return stored
        channels = 1 if is_up else 0
        scale = self._factors(f"{name}.scale", weights.scale, shape, channels, where)
        result = folding.elementwise(Step.MULTIPLY, stored, scale)
        if weights.offset is not None:
            offsets = self._factors(f"{name}.bias", weights.offset, shape, channels, where)
            result = folding.elementwise(Step.ADD, result, offsets)
        return replace(result, name=name)

    def _factors(self, name: str, place: tuple[int, int] | None, shape: Sequence[int], axis: int, where: str) -> Tensor:
        """One float for all, or one per output channel, in a shape that broadcasts to the weight's."""
        offset, length = place or (0, 0)
        count = length // 4
        if length % 4 or count not in {1, shape[axis]}:
            raise Refused(Reason.MALFORMED, f"{length} bytes of scales for {shape[axis]} channels", where)
        sides = tuple(count if at == axis else 1 for at in range(len(shape)))
        return Tensor(name=name, dtype="F32", shape=sides, span=Span(offset, length), layout=Layout.OTHER)


def _described(kind: int, numbers: Numbers, padding: list[int] | None, depth: int, where: str) -> Convolution:
    """The convolution of a layer; Refused (malformed) for impossible parameters."""
    rank = 2 if kind == _CONVOLUTION else 3
    if kind == _CONVOLUTION:
        stride, dilation = (tuple(numbers.get(each, [1, 1])) for each in (30, 40))
        borders = None if padding is None else tuple(padding or [0] * 4)
        is_up = bool(numbers.get(60, [0])[-1])
    else:
        stride, dilation = (tuple(numbers.get(each + axis, [1])[-1] for axis in range(3)) for each in (31, 40))
        is_up = bool(numbers.get(86, [0])[-1])
        style = numbers.get(70, [0])[-1]
        custom = tuple(numbers.get(number, [0])[-1] for number in range(80, 86))
        borders = custom if style == 0 else (0,) * 6 if style == 1 else None
    groups = numbers.get(10, [1])[-1] or 1
    if len(stride) != rank or len(dilation) != rank or not all(0 < n < _MAX_SIDE for n in stride + dilation):
        raise Refused(Reason.MALFORMED, f"strides {stride[:8]}, dilations {dilation[:8]} of {rank} axes", where)
    if borders is not None and (len(borders) != 2 * rank or max(borders) >= _MAX_SIDE):
        raise Refused(Reason.MALFORMED, f"padding {borders[:8]} of {rank} axes", where)
    outputs, own = numbers.get(1, [0])[-1], numbers.get(2, [0])[-1]
    own = own if kind == _CONVOLUTION or is_up else own // groups
    if outputs % groups or (is_up and own % groups):
        raise Refused(Reason.MALFORMED, f"{groups} groups of {outputs} channels", where)
    plain = Kind.CONV if groups == 1 else Kind.DEPTHWISE if own == 1 else Kind.GROUPED
    return Convolution(
        kind=Kind.TRANSPOSED if is_up else plain,
        context=Context.GRAPH,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=None if borders is None else borders[::2] + borders[1::2],
        depth=depth,
    )


def _shape(kind: int, numbers: Numbers, *, is_up: bool, groups: int, where: str) -> tuple[int, ...]:
    """(out, in/groups, *kernel), or (in, out/groups, *kernel) of a transposed convolution."""
    outputs, inputs = numbers.get(1, [0])[-1], numbers.get(2, [0])[-1]
    if kind == _CONVOLUTION:
        kernel = tuple(numbers.get(20, [3, 3]))
    else:
        kernel = tuple(numbers.get(number, [0])[-1] for number in (20, 21, 22))
        inputs = inputs if is_up else inputs // groups
    shape = (inputs, outputs // groups, *kernel) if is_up else (outputs, inputs, *kernel)
    if len(kernel) != (2 if kind == _CONVOLUTION else 3) or not all(0 < side < _MAX_SIDE for side in shape):
        raise Refused(Reason.MALFORMED, f"a convolution with a weight of shape {shape[:8]}", where)
    return shape
