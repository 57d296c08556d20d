"""Writes good and hostile safetensors files, byte by byte and without the reference library."""

from __future__ import annotations

import json
import struct
from typing import Any

from filterzoo.errors import Reason


def safetensors_bytes(header: object, data: bytes = bytes(36), length: int | None = None) -> bytes:
    """A file of that header (JSON text or what becomes it), whose declared length may be a lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: object = 0, end: object = 36, shape: object = (3, 3), dtype: object = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


_ONE = json.dumps(entry()).encode()

HOSTILE: dict[str, tuple[bytes, Reason]] = {
    "nothing after the length": (struct.pack("<Q", 10), Reason.MALFORMED),
    "header of no length": (safetensors_bytes(b"", length=0), Reason.MALFORMED),
    "header of 2^63 bytes": (safetensors_bytes({"w": entry()}, length=1 << 63), Reason.LIMIT),
    "header of 26 MB": (safetensors_bytes({"w": entry()}, bytes(26_000_000), length=25_000_001), Reason.LIMIT),
    "header past the end": (safetensors_bytes({"w": entry()}, length=1 << 20), Reason.MALFORMED),
    "header that is no JSON": (safetensors_bytes(b"{xxxx}"), Reason.MALFORMED),
    "header that is a list": (safetensors_bytes(b"[1, 2]"), Reason.MALFORMED),
    "header that starts with a space": (
        safetensors_bytes(b' {"w": ' + _ONE + b"}"),
        Reason.MALFORMED,
    ),
    "header in UTF-16": (safetensors_bytes(json.dumps({"w": entry()}).encode("utf-16-le")), Reason.MALFORMED),
    "header that is cut": (safetensors_bytes(b'{"w": {"dtype": "F3'), Reason.MALFORMED),
    "200,000 lists that never end": (safetensors_bytes(b'{"w": ' + b"[" * 200_000), Reason.MALFORMED),
    "name of bad UTF-8": (safetensors_bytes(b'{"\xff\xfe": ' + _ONE + b"}"), Reason.MALFORMED),
    "name of a lone surrogate": (safetensors_bytes(b'{"\\ud800": ' + _ONE + b"}"), Reason.MALFORMED),
    "two tensors of one name": (safetensors_bytes(b'{"w": ' + _ONE + b', "w": ' + _ONE + b"}"), Reason.MALFORMED),
    "two names that an escape makes one": (
        safetensors_bytes(b'{"w": ' + _ONE + b', "\\u0077": ' + _ONE + b"}"),
        Reason.MALFORMED,
    ),
    "dtype twice": (safetensors_bytes(b'{"w": {"dtype": "F32", ' + _ONE[1:] + b"}"), Reason.MALFORMED),
    "200,000 nested lists": (safetensors_bytes(b'{"w": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"), Reason.LIMIT),
    "200,000 nested objects": (safetensors_bytes(b'{"w":' * 200_000 + b"1" + b"}" * 200_000), Reason.LIMIT),
    "million-digit number": (safetensors_bytes(b'{"w": ' + b"9" * 1_000_000 + b"}"), Reason.MALFORMED),
    "NaN": (safetensors_bytes(b'{"w": NaN}'), Reason.MALFORMED),
    "reversed offsets": (safetensors_bytes({"w": entry(36, 0)}), Reason.MALFORMED),
    "negative offset": (safetensors_bytes({"w": entry(-36, 0)}), Reason.MALFORMED),
    "one offset": (safetensors_bytes({"w": entry() | {"data_offsets": [0]}}), Reason.MALFORMED),
    "offsets in a string": (safetensors_bytes({"w": entry() | {"data_offsets": "09"}}), Reason.MALFORMED),
    "overlap": (safetensors_bytes({"a": entry(), "b": entry()}), Reason.MALFORMED),
    "overlap by half": (safetensors_bytes({"a": entry(), "b": entry(16, 52)}, bytes(52)), Reason.MALFORMED),
    "hole": (safetensors_bytes({"a": entry(), "b": entry(40, 76)}, bytes(76)), Reason.MALFORMED),
    "hole at the start": (safetensors_bytes({"a": entry(4, 40)}, bytes(40)), Reason.MALFORMED),
    "data past the end": (safetensors_bytes({"w": entry(0, 3600, [30, 30])}), Reason.MALFORMED),
    "cut by one byte": (safetensors_bytes({"w": entry()}, bytes(35)), Reason.MALFORMED),
    "bytes behind the data": (safetensors_bytes({"w": entry()}, bytes(36) + b"PK\3\4"), Reason.MALFORMED),
    "data without tensors": (safetensors_bytes({}), Reason.MALFORMED),
    "shape that overflows": (safetensors_bytes({"w": entry(shape=[1 << 32, 1 << 32, 3])}), Reason.MALFORMED),
    "side of 2^70": (safetensors_bytes({"w": entry(shape=[1 << 70, 0], end=0)}, b""), Reason.MALFORMED),
    "shape of other bytes": (safetensors_bytes({"w": entry(shape=[3, 4])}), Reason.MALFORMED),
    "negative shape": (safetensors_bytes({"w": entry(shape=[-3, -3])}), Reason.MALFORMED),
    "float shape": (safetensors_bytes({"w": entry(shape=[3.0, 3.0])}), Reason.MALFORMED),
    "boolean shape": (safetensors_bytes({"w": entry(0, 4, [True])}, bytes(4)), Reason.MALFORMED),
    "shape that is a number": (safetensors_bytes({"w": entry(shape=9)}), Reason.MALFORMED),
    "5,000 axes": (safetensors_bytes({"w": entry(shape=[1] * 5000 + [9])}), Reason.LIMIT),
    "unknown dtype": (safetensors_bytes({"w": entry(dtype="EVIL")}), Reason.MALFORMED),
    "dtype that is a list": (safetensors_bytes({"w": entry(dtype=["F32"])}), Reason.MALFORMED),
    "dtype below a byte in too many bytes": (safetensors_bytes({"w": entry(dtype="F4")}), Reason.MALFORMED),
    "tensor that is a string": (safetensors_bytes({"w": "F32"}), Reason.MALFORMED),
    "tensor without dtype": (safetensors_bytes({"w": {"shape": [9], "data_offsets": [0, 36]}}), Reason.MALFORMED),
    "tensor with more to say": (safetensors_bytes({"w": entry() | {"__class__": "x"}}), Reason.MALFORMED),
    "metadata that is no string": (safetensors_bytes({"__metadata__": {"a": [1]}, "w": entry()}), Reason.MALFORMED),
    "metadata that is a list": (safetensors_bytes({"__metadata__": ["a"], "w": entry()}), Reason.MALFORMED),
}
"""What is wrong -> (the file, why it is refused)."""

NAMES = ["../../etc/x", "C:\\w", "a\0b", "\x1b[31mred", "\u202etxt", "<script>", "w" * 100_000, "", "weight "]
"""Names that would hurt as paths or on a terminal, and that are only names."""


def hostile_names() -> bytes:
    header = {name: entry(36 * place, 36 * place + 36) for place, name in enumerate(NAMES)}
    return safetensors_bytes(header, bytes(36 * len(NAMES)))
