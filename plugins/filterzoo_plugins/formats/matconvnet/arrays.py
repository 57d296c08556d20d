"""MATLAB arrays as tensors: they are column-major, without trailing axes of length 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

from filterzoo import DTYPES, Context, Convolution, Kind, Layout, NumberClass, Quantisation, Reason, Refused, Tensor
from filterzoo_plugins.encodings.matlab import CellArray, NumericArray, StructArray, Value

_MAX_SIDE = 1 << 31


def listed(value: Mapping[str, Value]) -> Iterator[tuple[str, Tensor]]:
    """Every array with more than a few elements, by its path."""
    pending: list[tuple[str, Value]] = list(value.items())[::-1]
    while pending:
        name, each = pending.pop()
        if isinstance(each, NumericArray) and not each.numbers and 0 not in each.shape:
            yield name, tensor_of(each, name)
        elif isinstance(each, CellArray):
            pending += [(f"{name}.{place}", item) for place, item in enumerate(each.items)][::-1]
        elif isinstance(each, StructArray):
            items = enumerate(each.items) if len(each.items) != 1 else [("", each.items[0])]
            inner = [
                (f"{name}.{place}".rstrip(".") + f".{key}", item) for place, one in items for key, item in one.items()
            ]
            pending += inner[::-1]


def tensor_of(numbers: NumericArray, name: str) -> Tensor:
    """The array, as it is stored."""
    steps = [prod(numbers.shape[:axis]) for axis in range(len(numbers.shape))]
    return Tensor(
        name=name,
        dtype=numbers.dtype,
        shape=numbers.shape,
        span=numbers.span,
        layout=Layout.OTHER,
        strides=tuple(steps),
        stored_in=numbers.stored_in,
    )


def filters(value: Value, name: str, *, is_transposed: bool) -> Tensor:
    """(height, width, in/groups, out) of a convolution, (height, width, out, in) of a transposed convolution."""
    if not isinstance(value, NumericArray):
        raise Refused(Reason.MALFORMED, "a convolution without filters", name)
    shape = value.shape + (1,) * (4 - len(value.shape))
    if len(shape) != 4 or 0 in shape:
        raise Refused(Reason.MALFORMED, f"filters of shape {shape[:8]}", name)
    tensor = tensor_of(value._replace(shape=shape), name)
    if DTYPES[tensor.dtype].number_class is NumberClass.INTEGER:
        # MATLAB stores integers in fewer bits; their values are the same.
        tensor = replace(tensor, quantisation=Quantisation((1.0,), (0,)))
    return replace(tensor, layout=Layout.K_OI if is_transposed else Layout.K_IO)


def described(
    options: Mapping[str, Value], names: tuple[str, str, str], shape: tuple[int, ...], channels: int | None, depth: int
) -> Convolution:
    """The convolution of a layer's options. names: of the fields for stride, padding and dilation.

    channels: of its input.
    """
    plain = Convolution(
        kind=Kind.CONV,
        context=Context.GRAPH,
        stride=_pair(options.get(names[0]), 1, names[0]),
        dilation=_pair(options.get(names[2]), 1, names[2]),
        padding=padding_of(options.get(names[1]), names[1]),
        depth=depth,
    )
    return plain if channels is None else _grouped(plain, shape, channels)


def _grouped(convolution: Convolution, shape: tuple[int, ...], channels: int) -> Convolution:
    groups, rest = divmod(channels, shape[2])
    if rest or not groups or shape[3] % groups:
        raise Refused(Reason.MALFORMED, f"filters of shape {shape} for an input of {channels} channels")
    kind = Kind.CONV if groups == 1 else Kind.DEPTHWISE if shape[2] == 1 else Kind.GROUPED
    return replace(convolution, kind=kind, groups=groups)


def padding_of(value: Value, name: str) -> tuple[int, ...]:
    """(top, left, bottom, right), from MatConvNet's [top bottom left right] or one number for all."""
    numbers = _integers(value, 0, name)
    if len(numbers) == 1:
        return numbers * 4
    if len(numbers) != 4:
        raise Refused(Reason.MALFORMED, f"{name} of {len(numbers)} numbers")
    top, bottom, left, right = numbers
    return top, left, bottom, right


def _pair(value: Value, default: int, name: str) -> tuple[int, ...]:
    numbers = _integers(value, default, name)
    if len(numbers) not in {1, 2} or min(numbers) < 1:
        raise Refused(Reason.MALFORMED, f"{name} of {numbers[:8]}")
    return numbers * 2 if len(numbers) == 1 else numbers


def _integers(value: Value, default: int, name: str) -> tuple[int, ...]:
    if not isinstance(value, NumericArray) or not prod(value.shape):
        return (default,)
    if not value.numbers or not all(0 <= number < _MAX_SIDE and number == int(number) for number in value.numbers):
        raise Refused(Reason.MALFORMED, f"{name} is no short list of whole numbers")
    return tuple(map(int, value.numbers))


def integer(value: Value, default: int, name: str) -> int:
    """An integer."""
    numbers = _integers(value, default, name)
    if len(numbers) != 1:
        raise Refused(Reason.MALFORMED, f"{name} of {len(numbers)} numbers")
    return numbers[0]


def transposed(options: Mapping[str, Value], names: tuple[str, str], groups: int, depth: int) -> Convolution:
    """The transposed convolution of a layer's options. names: of the fields for upsampling and cropping."""
    if groups != 1:
        raise Refused(Reason.UNSUPPORTED, f"a transposed convolution of {groups} groups")
    return Convolution(
        kind=Kind.TRANSPOSED,
        context=Context.GRAPH,
        groups=1,
        stride=_pair(options.get(names[0]), 1, names[0]),
        dilation=(1, 1),
        padding=padding_of(options.get(names[1]), names[1]),
        depth=depth,
    )
