"""Caffe's networks, good ones and hostile ones, written without Caffe."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from tests.plugins.formats.onnx_files import message, varint

_FIELDS = {False: (1, 2, 3, 4, 7, 106, 100), True: (4, 5, 2, 3, 6, 10, 2)}
"""By whether the layer is old: name, type, bottom, top, blobs, convolution_param; and its own in the network."""
_OLD_TYPES = {"Convolution": 4, "Deconvolution": 39, "ReLU": 18, "InnerProduct": 14}


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & (1 << 64) - 1)


def blob(array: np.ndarray, *, shape: Sequence[int] | None = None, legacy: bool = False) -> bytes:
    """A BlobProto. shape: what it says instead."""
    sides = list(array.shape if shape is None else shape)
    if legacy:
        sides = [1] * (4 - len(sides)) + sides
        head = b"".join(number(field, side) for field, side in enumerate(sides, 1))
    else:
        head = message(7, message(1, b"".join(varint(side & (1 << 64) - 1) for side in sides)))
    return message(8 if array.dtype == np.float64 else 5, array.tobytes()) + head


def layer(
    name: str, type_: str, bottom: str, top: str, *blobs: bytes, old: bool = False, **numbers: int | Sequence[int]
) -> bytes:
    """A layer of the network. numbers: of its ConvolutionParameter, by the names of the fields."""
    named = {
        "num_output": 1, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "pad_h": 9, "pad_w": 10, "kernel_h": 11,
        "kernel_w": 12, "stride_h": 13, "stride_w": 14, "dilation": 18,
    }  # fmt: skip
    name_at, type_at, bottom_at, top_at, blobs_at, numbers_at, layer_at = _FIELDS[old]
    made = message(name_at, name.encode())
    made += number(type_at, _OLD_TYPES.get(type_, 1)) if old else message(type_at, type_.encode())
    made += (message(bottom_at, bottom.encode()) if bottom else b"") + message(top_at, top.encode())
    made += b"".join(message(blobs_at, each) for each in blobs)
    if numbers:
        values = {key: [value] if isinstance(value, int) else value for key, value in numbers.items()}
        parameter = b"".join(number(named[key], each) for key, value in values.items() for each in value)
        made += message(numbers_at, parameter)
    return message(layer_at, made)


def network(*layers: bytes, name: str = "net") -> bytes:
    """A NetParameter."""
    return message(1, name.encode()) + b"".join(layers)


WEIGHT = np.random.default_rng(0).normal(size=(6, 2, 3, 5)).astype("f4")
"""(out, in/groups, height, width)."""


def one_conv(*, shape: Sequence[int] | None = None, type_: str = "Convolution", old: bool = False, **numbers) -> bytes:
    """A network of one convolution."""
    stated = {"num_output": 6, "kernel_h": 3, "kernel_w": 5, "group": 2} | numbers
    bias = blob(np.ones(6, "f4"), legacy=old)
    made = layer("conv", type_, "data", "conv", blob(WEIGHT, shape=shape, legacy=old), bias, old=old, **stated)
    return network(made, layer("relu", "ReLU", "conv", "conv", old=old))


def hostile() -> Iterator[tuple[str, bytes, str, str]]:
    """Label, content, the reason of the refusal, and part of its text."""
    good = one_conv()
    yield "cut short", good[:-9], "malformed", "cut off"
    yield "another shape", one_conv(shape=(6, 2, 3, 6)), "malformed", "bytes for"
    yield "a shape of 2^60", one_conv(shape=(1 << 30, 1 << 30, 1, 1)), "malformed", "bytes for"
    yield "a negative side", one_conv(shape=(-6, -2, 3, 5)), "malformed", "bytes for"
    yield "many axes", one_conv(shape=(1,) * 40), "limit", "numbers"
    yield "rank 2", one_conv(shape=(12, 15)), "malformed", "with a weight of shape"
    yield "an axis of 0", network(layer("c", "Convolution", "a", "b", blob(WEIGHT[:0]))), "malformed", "of shape"
    yield "four groups", one_conv(group=4), "malformed", "groups"
    yield "no groups", one_conv(group=0), "malformed", "groups"
    yield "a stride of 0", one_conv(stride=0), "malformed", "strides"
    yield "a stride of 2^40", one_conv(stride=1 << 40), "malformed", "strides"
    yield "three strides", one_conv(stride=(1, 1, 1)), "malformed", "strides"
    yield "a hundred strides", one_conv(stride=(1,) * 100), "limit", "numbers"
    yield "another convolution", one_conv(type_="QuantConvolution"), "unsupported", "not known"
    yield "depthwise of two inputs", one_conv(type_="DepthwiseConvolution"), "malformed", "depthwise"
    lone = message(7, message(1, varint(1))) + b"".join(varint(5 << 3 | 5) + struct.pack("<f", n) for n in range(3))
    one_by_one = network(layer("c", "Convolution", "a", "b", lone))
    yield "numbers one by one", one_by_one, "unsupported", "not read"
    twice = network(layer("c", "Convolution", "a", "b", blob(WEIGHT) + blob(WEIGHT)))
    yield "numbers twice", twice, "unsupported", "not read"
    yield "no numbers", network(layer("c", "Convolution", "a", "b", num_output=4)), "malformed", "without numbers"
    yield "the oldest form", network(message(2, message(1, message(1, b"conv1")))), "unsupported", "oldest"
    yield "a name that is no text", good.replace(b"\x04conv", b"\x04con\xff", 1), "malformed", "UTF-8"
