"""Writes GGUF files, version 3, from the specification alone."""

from __future__ import annotations

import struct

import numpy as np

TYPES = {"float32": 0, "float16": 1, "int8": 24, "float64": 28}
Q4_0 = 2


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def fact(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


FACTS = (
    fact("general.architecture", 8, text("clip")),
    fact("general.license", 8, text("apache-2.0")),
    fact("general.alignment", 4, struct.pack("<I", 64)),
    fact("tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("é")),
    fact("scores", 9, struct.pack("<IQ3f", 6, 3, 0, 1, 2)),
)


def gguf(
    tensors: dict[str, np.ndarray],
    *,
    facts: tuple[bytes, ...] = FACTS,
    alignment: int = 64,
    version: int = 3,
    kinds: dict[str, int] | None = None,
    offsets: dict[str, int] | None = None,
    count: int | None = None,
    repeat: str = "",
) -> bytes:
    """A file; kinds, offsets: other than they are; count: of tensors that are promised; repeat: one listed twice."""
    table, data = b"", b""
    for name, array in tensors.items():
        data += bytes(-len(data) % alignment)
        kind = (kinds or {}).get(name, TYPES[array.dtype.name])
        offset = (offsets or {}).get(name, len(data))
        axes = struct.pack(f"<I{array.ndim}Q", array.ndim, *array.shape[::-1])
        entry = text(name) + axes + struct.pack("<IQ", kind, offset)
        table += entry * (2 if name == repeat else 1)
        data += array.tobytes()
    n_tensors = len(tensors) + bool(repeat) if count is None else count
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, len(facts)) + b"".join(facts) + table
    return head + bytes(-len(head) % alignment) + data
