"""Recognises TensorFlow files by their first fields, because they have no magic bytes."""

from __future__ import annotations

import re

from filterzoo import Refused
from filterzoo_plugins.encodings.protobuf import LENGTH_DELIMITED, VARINT, decode_varint, first_fields

_LONGEST_NAME = 4096
_META_GRAPH_FIELDS = 7
_OPERATION = re.compile(rb"[A-Za-z_][A-Za-z0-9_>./-]{0,200}")
_HEADER_LENGTHS = range(4, 64)


def is_checkpoint(head: bytes) -> bool:
    """The index of a checkpoint: its first key is empty, the value a BundleHeaderProto with a version."""
    is_header = head[:2] == b"\0\0" and len(head) > 3 and head[2] in _HEADER_LENGTHS and head[3] in {0x08, 0x10, 0x1A}
    return is_header and b"\x1a\x02\x08\x01" in head[: 4 + head[2]]


def is_old_checkpoint(head: bytes) -> bool:
    """A checkpoint in one file: its first key is empty, the value a list of named variables."""
    if head[:2] != b"\0\0":
        return False
    try:
        length, at = decode_varint(head, 2)
        ends = [at + length]
        for _ in range(3):  # SavedTensorSlices.meta, SavedTensorSliceMeta.tensor, SavedSliceMeta.name
            if head[at] != 1 << 3 | LENGTH_DELIMITED:
                return False
            length, at = decode_varint(head, at + 1)
            if at + length > ends[-1]:
                return False
            ends.append(at + length)
    except (Refused, IndexError):
        return False
    name = head[at : ends[-1]]
    return 0 < length <= _LONGEST_NAME and name.isascii() and name.decode("ascii").isprintable()


def is_saved_model(head: bytes) -> bool:
    """A SavedModel: version 1, then a MetaGraphDef that starts with one of its fields."""
    fields = first_fields(head)
    if [tag for tag, _, _ in fields[:2]] != [1 << 3 | VARINT, 2 << 3 | LENGTH_DELIMITED] or fields[0][1] != 1:
        return False
    inner = first_fields(fields[1][2])
    return bool(inner) and inner[0][0] & 7 == LENGTH_DELIMITED and inner[0][0] >> 3 <= _META_GRAPH_FIELDS


def is_graph(head: bytes) -> bool:
    """A GraphDef: nodes with a name and an operation."""
    fields = first_fields(head)
    if not fields or fields[0][0] != 1 << 3 | LENGTH_DELIMITED:
        return False
    inner = first_fields(fields[0][2])
    node = {tag >> 3: value for tag, _, value in reversed(inner)}
    name, operation = node.get(1, b""), node.get(2, b"")
    is_named = 0 < len(name) <= _LONGEST_NAME and name.isascii() and name.decode("ascii").isprintable()
    return (
        is_named
        and _OPERATION.fullmatch(operation) is not None
        and {tag >> 3 for tag, _, _ in inner} <= set(range(1, 8))
    )
