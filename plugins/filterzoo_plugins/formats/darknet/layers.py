"""The outputs of Darknet's layers, and their arrays in the file (parser.c, load_weights_upto)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from filterzoo import Context, Convolution, Kind, Layout, Reason, Refused, Span, Tensor
from filterzoo_plugins.formats.darknet.config import ConfigSection

_BYTES = 4
_LARGEST = 1 << 31
_CHANGES = ("share_index", "antialiasing", "flipped")
"""Options that change how a convolution's weights are stored or used."""
_SAME = frozenset(
    {"dropout", "softmax", "soft", "cost", "yolo", "gaussian_yolo", "region", "detection", "logistic", "activation"}
    | {"l2norm", "lrn", "normalization", "iseg", "scale_channels", "sam", "noise", "empty", "silence"}
)
"""Layers without weights whose output has as many channels as their input."""


class Output(NamedTuple):
    """A layer's output: channels, height and width, and its depth (docs/measures.md, 2)."""

    channels: int
    height: int
    width: int
    depth: int


class FileArray(NamedTuple):
    """An array of the file. convolution: None unless it is a convolution weight."""

    tensor: Tensor
    convolution: Convolution | None = None


class LayerStack:
    """Assigns the bytes between `start` and `end` to the layers, which are added in order."""

    def __init__(self, start: int, end: int) -> None:
        self._at = start
        self._end = end
        self._outputs: list[Output] = []
        self._last = Output(0, 0, 0, 0)
        self._is_begun = False
        self._arrays: list[FileArray] = []

    def add(self, section: ConfigSection) -> None:
        """Add a layer. Refused (unsupported) for one with unknown arrays, (malformed) if the file is too short."""
        if not self._is_begun:
            self._is_begun = True
            sides = [section.integer(key, 0) for key in ("channels", "height", "width")]
            self._last = Output(sides[0], sides[1], sides[2], 0)
            return
        layer = _LAYERS.get(section.type)
        if layer is None and section.type not in _SAME:
            raise Refused(Reason.UNSUPPORTED, f"a layer of the type {section.type}", section.where)
        read = self._last
        made = layer(self, section, read) if layer else read
        if layer is not _route and layer is not _shortcut:
            made = made._replace(depth=read.depth + 1)
        if not all(0 <= side < _LARGEST for side in made):
            raise Refused(Reason.MALFORMED, "a layer whose output has an impossible size", section.where)
        self._last = made
        self._outputs.append(made)

    def finished(self) -> list[FileArray]:
        """All arrays; Refused (malformed) if the file has more bytes."""
        if self._at != self._end:
            detail = f"{self._end - self._at} bytes are left behind the numbers of all layers: the .cfg is of another"
            raise Refused(Reason.MALFORMED, detail, f"byte {self._at}")
        return self._arrays

    @property
    def number(self) -> int:
        """The index of the layer that is being added."""
        return len(self._outputs)

    def output(self, number: int, section: ConfigSection) -> Output:
        """The output of an earlier layer; a negative number counts back from this one."""
        at = number if number >= 0 else self.number + number
        if not 0 <= at < self.number:
            raise Refused(Reason.MALFORMED, f"it reads layer {number}, which is none before it", section.where)
        return self._outputs[at]

    def take(self, section: ConfigSection, what: str, *shape: int, convolution: Convolution | None = None) -> None:
        """The next array of the file."""
        length = prod(shape) * _BYTES
        if length > self._end - self._at:
            detail = f"its {what} take {length} bytes, {self._end - self._at} are left"
            raise Refused(Reason.MALFORMED, detail[:160], section.where)
        name = f"{self.number}.{section.type}.{what}"
        layout = Layout.OTHER if convolution is None else Layout.OI_K
        tensor = Tensor(
            name=name, dtype="F32", shape=shape, span=Span(self._at, length), layout=layout, convolution=convolution
        )
        self._arrays.append(FileArray(tensor, convolution))
        self._at += length


def _convolutional(network: LayerStack, section: ConfigSection, read: Output) -> Output:
    for option in _CHANGES:
        if section.options.get(option, "0") != "0":
            raise Refused(Reason.UNSUPPORTED, f"a convolution with the option {option}", section.where)
    filters, size = section.integer("filters", 1, 1), section.integer("size", 1, 1)
    stride = section.integer("stride", 1, 1)
    strides = section.integer("stride_y", stride, 1), section.integer("stride_x", stride, 1)
    dilation = section.integer("dilation", 1, 1)
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
    groups = section.integer("groups", 1, 1)
    if read.channels % groups or filters % groups or not read.channels:
        detail = f"{groups} groups of {read.channels} channels and {filters} filters"
        raise Refused(Reason.MALFORMED, detail, section.where)
    own = read.channels // groups
    network.take(section, "biases", filters)
    if section.integer("batch_normalize", 0):
        for what in ("scales", "rolling_mean", "rolling_variance"):
            network.take(section, what, filters)
    kind = Kind.CONV if groups == 1 else Kind.DEPTHWISE if own == 1 else Kind.GROUPED
    described = Convolution(
        kind=kind,
        context=Context.GRAPH,
        groups=groups,
        stride=strides,
        dilation=(dilation, dilation),
        padding=(padding,) * 4,
        depth=read.depth + 1,
    )
    network.take(section, "weights", filters, own, size, size, convolution=described)
    reach = dilation * (size - 1) + 1
    sides = [
        max((side + 2 * padding - reach) // step + 1, 0)
        for side, step in zip((read.height, read.width), strides, strict=True)
    ]
    return Output(filters, sides[0], sides[1], 0)


def _connected(network: LayerStack, section: ConfigSection, read: Output) -> Output:
    outputs, inputs = section.integer("output", 1, 1), read.channels * read.height * read.width
    network.take(section, "biases", outputs)
    network.take(section, "weights", outputs, inputs)
    if section.integer("batch_normalize", 0):
        for what in ("scales", "rolling_mean", "rolling_variance"):
            network.take(section, what, outputs)
    return Output(outputs, 1, 1, 0)


def _maxpool(_: LayerStack, section: ConfigSection, read: Output) -> Output:
    stride = section.integer("stride", 1, 1)
    size = section.integer("size", stride, 1)
    padding = section.integer("padding", size - 1)
    if section.integer("maxpool_depth", 0):
        raise Refused(Reason.UNSUPPORTED, "a maximum over channels", section.where)
    sides = [max((side + padding - size) // stride + 1, 0) for side in (read.height, read.width)]
    return Output(read.channels, sides[0], sides[1], 0)


def _avgpool(_: LayerStack, __: ConfigSection, read: Output) -> Output:
    return Output(read.channels, 1, 1, 0)


def _upsample(_: LayerStack, section: ConfigSection, read: Output) -> Output:
    stride = section.integer("stride", 2)
    if stride < 1:
        raise Refused(Reason.UNSUPPORTED, "an enlargement that makes smaller", section.where)
    return Output(read.channels, read.height * stride, read.width * stride, 0)


def _reorg(_: LayerStack, section: ConfigSection, read: Output) -> Output:
    stride = section.integer("stride", 1, 1)
    if section.integer("reverse", 0) or section.integer("flatten", 0) or section.integer("extra", 0):
        raise Refused(Reason.UNSUPPORTED, "a reorg with options that are not read", section.where)
    return Output(read.channels * stride * stride, read.height // stride, read.width // stride, 0)


def _crop(_: LayerStack, section: ConfigSection, read: Output) -> Output:
    return Output(read.channels, section.integer("crop_height", 1, 1), section.integer("crop_width", 1, 1), 0)


def _route(network: LayerStack, section: ConfigSection, _: Output) -> Output:
    read = [network.output(number, section) for number in section.integers("layers")]
    parts, part = section.integer("groups", 1, 1), section.integer("group_id", 0)
    channels = [each.channels // parts for each in read]
    if any(each.channels % parts for each in read) or part >= parts:
        raise Refused(Reason.MALFORMED, f"part {part} of {parts} of channels that do not split", section.where)
    depth = 1 + max(each.depth for each in read)
    return Output(sum(channels), read[0].height, read[0].width, depth)


def _shortcut(network: LayerStack, section: ConfigSection, read: Output) -> Output:
    if section.options.get("weights_type", "none") != "none":
        raise Refused(Reason.UNSUPPORTED, "a shortcut with weights", section.where)
    added = [network.output(number, section) for number in section.integers("from")]
    return read._replace(depth=1 + max(read.depth, *(each.depth for each in added)))


_LAYERS: dict[str, Callable[[LayerStack, ConfigSection, Output], Output]] = {
    "convolutional": _convolutional,
    "conv": _convolutional,
    "connected": _connected,
    "conn": _connected,
    "maxpool": _maxpool,
    "max": _maxpool,
    "avgpool": _avgpool,
    "avg": _avgpool,
    "upsample": _upsample,
    "reorg": _reorg,
    "crop": _crop,
    "route": _route,
    "shortcut": _shortcut,
}
