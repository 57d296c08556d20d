"""Which of Caffe's layers are convolutions, and their parameters."""

from __future__ import annotations

import re

from filterzoo import Context, Convolution, Kind, Reason, Refused
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.caffe.document import LayerParameter

_GROUP, _PAD, _STRIDE, _DILATION = 5, 3, 6, 18
_HEIGHT_AND_WIDTH = {_PAD: (9, 10), _STRIDE: (13, 14)}
"""The fields of ConvolutionParameter that may replace a list of two."""
_CONVOLUTION, _DECONVOLUTION = "Convolution", "Deconvolution"
_DEPTHWISE = frozenset({"ConvolutionDepthwise", "DepthwiseConvolution", "DepthwiseConv"})
"""Types of forks: their weights are (channels, 1, height, width), even if no group is stated."""
_UNKNOWN = re.compile(r"conv", re.IGNORECASE)
_MAX_SIDE = 1 << 31


def looks_like_convolution(type_: str) -> bool:
    """Whether the type of a layer is named like a convolution."""
    return _UNKNOWN.search(type_) is not None


def is_transposed(type_: str) -> bool:
    """Whether the layer's weight is (in, out/groups, *kernel)."""
    return type_ == _DECONVOLUTION


def convolution_of(layer: LayerParameter, shape: tuple[int, ...], depth: int | None) -> Convolution:
    """The convolution of a layer, from its parameters; `shape` is its weight's.

    Refused (unsupported) for a layer of unknown layout, (malformed) if shape and parameters contradict each other.
    """
    where = show(layer.name)
    if layer.type not in {_CONVOLUTION, _DECONVOLUTION, *_DEPTHWISE}:
        detail = f"the layout of the weights of {show(layer.type)} is not known"
        raise Refused(Reason.UNSUPPORTED, detail, where)
    if not 3 <= len(shape) <= 5 or 0 in shape:
        raise Refused(Reason.MALFORMED, f"a convolution with a weight of shape {shape[:8]}", where)
    kernel = len(shape) - 2
    groups = _groups(layer, shape, where)
    own = shape[1]
    kind = Kind.CONV if groups in {None, 1} else Kind.DEPTHWISE if own == 1 else Kind.GROUPED
    return Convolution(
        kind=Kind.TRANSPOSED if is_transposed(layer.type) else kind,
        context=Context.GRAPH,
        groups=groups,
        stride=_list(layer, _STRIDE, kernel, 1, where),
        dilation=_list(layer, _DILATION, kernel, 1, where),
        padding=None if (padding := _list(layer, _PAD, kernel, 0, where)) is None else padding * 2,
        depth=depth,
    )


def _groups(layer: LayerParameter, shape: tuple[int, ...], where: str) -> int | None:
    if layer.type in _DEPTHWISE:
        if shape[1] != 1:
            raise Refused(Reason.MALFORMED, f"a depthwise weight of shape {shape}", where)
        return shape[0]
    if layer.numbers is None:
        return None
    groups = (layer.numbers.get(_GROUP) or [1])[-1]
    if not 1 <= groups <= shape[0] or shape[0] % groups:
        raise Refused(Reason.MALFORMED, f"{groups} groups of a weight of shape {shape}", where)
    return groups


def _list(layer: LayerParameter, key: int, kernel: int, default: int, where: str) -> tuple[int, ...] | None:
    """One number per axis of the kernel; the file may state one for all."""
    if layer.numbers is None:
        return None
    numbers = layer.numbers.get(key, [])
    pair = [layer.numbers.get(each, []) for each in _HEIGHT_AND_WIDTH.get(key, ())]
    if any(pair) and kernel == 2:
        numbers = [(each or [default])[-1] for each in pair]
    found = numbers or [default]
    found = found * kernel if len(found) == 1 else found
    if len(found) != kernel or not all(default <= number < _MAX_SIDE for number in found):
        raise Refused(Reason.MALFORMED, f"strides, padding or dilation of {found} for {kernel} axes", where)
    return tuple(found)
