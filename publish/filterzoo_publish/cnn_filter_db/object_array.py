"""Writes the pickle of an object array, which the layout requires. Reading a pickle is not implemented.

Opcodes: `pickletools` of the standard library, protocol 3. Content: that of `numpy.ndarray.__reduce__`.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

_START = b"\x80\x03"
_EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
"""Every NumPy since 1.0 resolves this module name."""
_UNSTATED = b"J\xff\xff\xff\xff"
_OBJECT_TYPE = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R(K\x03X\x01\x00\x00\x00|NNN" + 2 * _UNSTATED + b"K?tb"


def pickled(values: npt.NDArray[np.object_]) -> bytes:
    """The pickle of an array of strings, booleans and floats; TypeError for any other object."""
    shape = b"(" + b"".join(b"J" + struct.pack("<i", length) for length in values.shape) + b"t"
    objects = b"](" + b"".join(map(_object, values.ravel().tolist())) + b"e"
    state = b"(K\x01" + shape + _OBJECT_TYPE + b"\x89" + objects + b"t"
    return _START + _EMPTY_ARRAY + state + b"b."


def _object(value: object) -> bytes:
    match value:
        case bool():
            return b"\x88" if value else b"\x89"
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            text = value.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(text)) + text
    raise TypeError(f"the layout has no place for {type(value).__name__}")
