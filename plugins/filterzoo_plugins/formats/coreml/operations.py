"""Which operations of Core ML's programs are convolutions, and their parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from filterzoo import Context, Convolution, Kind, Reason, Refused

_CONVOLUTION, _TRANSPOSED = "conv", "conv_transpose"
_UNKNOWN = re.compile(r"conv(?!ert)", re.IGNORECASE)
_MAX_SIDE = 1 << 31

Plain = Mapping[str, tuple[int, ...] | str]


def is_convolution(type_: str) -> bool:
    """Whether it is a convolution with a known layout: (out, in/groups, *kernel), or (in, out/groups, *kernel)."""
    return type_ in {_CONVOLUTION, _TRANSPOSED}


def is_transposed(type_: str) -> bool:
    """Whether it is a transposed convolution."""
    return type_ == _TRANSPOSED


def looks_like_one(type_: str) -> bool:
    """Whether an operation is named like a convolution."""
    return _UNKNOWN.search(type_) is not None


def described(type_: str, plain: Plain, shape: tuple[int, ...], depth: int, where: str) -> Convolution:
    """The convolution of an operation. Padding is None if it depends on the input."""
    if not 3 <= len(shape) <= 5 or 0 in shape:
        raise Refused(Reason.MALFORMED, f"a convolution with a weight of shape {shape[:8]}", where)
    rank = len(shape) - 2
    groups = _numbers(plain, "groups", 1, 1, where)[0]
    if groups < 1 or shape[0] % groups:
        raise Refused(Reason.MALFORMED, f"{groups} groups of a weight of shape {shape}", where)
    kind = Kind.CONV if groups == 1 else Kind.DEPTHWISE if shape[1] == 1 else Kind.GROUPED
    stride, dilation = (_numbers(plain, key, rank, 1, where) for key in ("strides", "dilations"))
    if min(stride + dilation) < 1:
        raise Refused(Reason.MALFORMED, f"strides {stride}, dilations {dilation}", where)
    return Convolution(
        kind=Kind.TRANSPOSED if is_transposed(type_) else kind,
        context=Context.GRAPH,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=_padding(plain, rank, where),
        depth=depth,
    )


def _padding(plain: Plain, rank: int, where: str) -> tuple[int, ...] | None:
    """(begin of each axis, end of each axis)."""
    style = plain.get("pad_type", "valid")
    if style in {"same", "same_lower"}:
        return None
    if style == "valid":
        return (0,) * (2 * rank)
    if style != "custom":
        raise Refused(Reason.MALFORMED, f"a pad_type of {ascii(style)[:40]}", where)
    borders = _numbers(plain, "pad", 2 * rank, 0, where)
    return borders[::2] + borders[1::2]


def _numbers(plain: Plain, key: str, count: int, default: int, where: str) -> tuple[int, ...]:
    numbers = plain.get(key, (default,) * count)
    if isinstance(numbers, str) or len(numbers) != count or not all(0 <= number < _MAX_SIDE for number in numbers):
        raise Refused(Reason.MALFORMED, f"{key} that do not fit {count} numbers", where)
    return numbers
