"""Networks of MatConvNet: good ones by SciPy, hostile ones byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.io import savemat

DICE = np.random.default_rng(5)
WEIGHT = DICE.normal(size=(3, 5, 3, 8)).astype("f4")
"""(height, width, in, out)."""


def cells(*values: Any) -> np.ndarray:
    made = np.empty((1, len(values)), object)
    for place, value in enumerate(values):
        made[0, place] = value
    return made


def conv(weights: np.ndarray, name: str = "conv", type_: str = "conv", **options: Any) -> dict[str, Any]:
    """A layer of a chain."""
    return {"type": type_, "name": name, "weights": cells(weights, np.zeros(weights.shape[-1], "f4")), **options}


def mat(packed: bool = True, **variables: Any) -> bytes:  # noqa: FBT001, FBT002  # as SciPy has it
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=packed)
    return stream.getvalue()


def chain(*layers: dict[str, Any], packed: bool = True) -> bytes:
    """A SimpleNN."""
    return mat(packed, layers=cells(*layers), meta={"classes": "none"})


def structs(*items: dict[str, Any]) -> np.ndarray:
    made = np.empty((1, len(items)), [(key, object) for key in items[0]])
    for place, item in enumerate(items):
        made[0, place] = tuple(item.values())
    return made


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def array(*parts: bytes, class_: int = 7, shape: tuple[int, ...] = (1, 1), name: bytes = b"layers") -> bytes:
    """A miMATRIX."""
    head = element(6, struct.pack("<II", class_, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    content = head + element(1, name) + b"".join(parts)
    return struct.pack("<II", 14, len(content)) + content


def file_of(*variables: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124, b" ") + b"\x00\x01IM" + b"".join(variables)


def packed(variable: bytes) -> bytes:
    content = zlib.compress(variable)
    return struct.pack("<II", 15, len(content)) + content


def hostile() -> Iterator[tuple[str, bytes, str, str]]:
    """Label, content, the reason of the refusal, and part of its text."""
    plain, good = chain(conv(WEIGHT), packed=False), chain(conv(WEIGHT))
    yield "cut short", plain[:-300], "malformed", "a variable of"
    yield "cut short, packed", good[:-300], "malformed", "a variable of"
    broken = bytearray(good)
    broken[300] ^= 0xFF
    yield "a broken byte", bytes(broken), "damaged", ""
    yield "no network", mat(a=np.zeros((3, 3, 3, 3))), "unsupported", "no layers"
    yield "big-endian", plain[:124] + b"\1\0MI" + plain[128:], "unsupported", "big-endian"
    nested = array(class_=1, shape=(0, 0), name=b"")
    for _ in range(40):
        nested = array(nested, class_=1, name=b"")
    yield "deep", file_of(nested), "limit", "deep"
    many = array(class_=1, shape=(1 << 30, 1 << 30))
    yield "a cell array of 2^60", file_of(many), "malformed", "arrays in"
    yield "structs of 2^60", file_of(
        array(element(5, struct.pack("<i", 4)), element(1, b"abc\0"), class_=2, shape=(1 << 30, 1 << 30))
    ), "malformed", "arrays in"  # fmt: skip
    short = array(element(7, bytes(12)), shape=(3, 3))
    yield "fewer numbers than the shape has", file_of(short), "malformed", "12 bytes"
    yield "a shape of 2^60", file_of(array(element(7, bytes(12)), shape=(1 << 30, 1 << 30))), "malformed", "12 bytes"
    yield "a negative side", file_of(array(element(7, b""), shape=(-1, 3))), "malformed", "a shape of"
    yield "many axes", file_of(array(element(7, b""), shape=(1,) * 40)), "limit", "where few belong"
    beyond = array(struct.pack("<II", 7, 1 << 31), shape=(1 << 29, 1))
    yield "numbers past their array", file_of(beyond), "malformed", "past its parent"
    yield (
        "fields of no length",
        file_of(array(element(5, bytes(4)), element(1, b"abc"), class_=2)),
        "malformed",
        "fields",
    )
    yield (
        "bytes that inflate for ever",
        file_of(packed(struct.pack("<II", 14, 1 << 30) + bytes(1 << 22))),
        "limit",
        "declared",
    )
    longer = file_of(packed(array(element(7, bytes(4))) + bytes(4096)))
    yield "more than it says", longer, "malformed", "longer than it says"
    yield "a layer without a type", chain({"name": "a"}), "malformed", "no struct with a type"
    yield "filters that are text", chain({**conv(WEIGHT), "weights": cells("no")}), "malformed", "without filters"
    yield "a stride of 0", chain(conv(WEIGHT, stride=0.0)), "malformed", "stride"
    yield "a stride of a half", chain(conv(WEIGHT, stride=0.5)), "malformed", "stride"
    yield "three strides", chain(conv(WEIGHT, stride=[1.0, 1.0, 1.0])), "malformed", "stride"
    yield "padding of three", chain(conv(WEIGHT, pad=[1.0, 1.0, 1.0])), "malformed", "pad"
    five = DICE.normal(size=(3, 3, 5, 4, 2)).astype("f4")
    yield "filters of five axes", chain(conv(five)), "malformed", "filters of shape"
    yield "up in groups", chain(conv(WEIGHT, type_="convt", numGroups=2.0)), "unsupported", "groups"
