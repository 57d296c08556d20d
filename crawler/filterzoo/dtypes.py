"""The stored number types FilterZoo knows, under safetensors' names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NumberClass(StrEnum):
    """How numbers of a type can become weights."""

    FLOAT = "float"
    """Becomes float32 by casting."""
    INTEGER = "integer"
    """A weight only when multiplied by a scale."""
    OTHER = "other"
    """Never a weight: booleans, complex numbers."""


@dataclass(frozen=True, slots=True)
class DType:
    """`size` in bytes; `numpy` is the little-endian dtype string of the stored bits."""

    name: str
    size: int
    numpy: str
    number_class: NumberClass


DTYPES = {
    entry.name: entry
    for entry in (
        DType("F64", 8, "<f8", NumberClass.FLOAT),
        DType("F32", 4, "<f4", NumberClass.FLOAT),
        DType("F16", 2, "<f2", NumberClass.FLOAT),
        DType("BF16", 2, "<u2", NumberClass.FLOAT),
        DType("F8_E4M3", 1, "|u1", NumberClass.FLOAT),
        DType("F8_E5M2", 1, "|u1", NumberClass.FLOAT),
        DType("I64", 8, "<i8", NumberClass.INTEGER),
        DType("I32", 4, "<i4", NumberClass.INTEGER),
        DType("I16", 2, "<i2", NumberClass.INTEGER),
        DType("I8", 1, "|i1", NumberClass.INTEGER),
        DType("U64", 8, "<u8", NumberClass.INTEGER),
        DType("U32", 4, "<u4", NumberClass.INTEGER),
        DType("U16", 2, "<u2", NumberClass.INTEGER),
        DType("U8", 1, "|u1", NumberClass.INTEGER),
        DType("BOOL", 1, "|b1", NumberClass.OTHER),
        DType("C64", 8, "<c8", NumberClass.OTHER),
        DType("C128", 16, "<c16", NumberClass.OTHER),
        DType("F8_E4M3FNUZ", 1, "|u1", NumberClass.FLOAT),
        DType("F8_E5M2FNUZ", 1, "|u1", NumberClass.FLOAT),
        DType("F8_E8M0", 1, "|u1", NumberClass.FLOAT),
    )
}
