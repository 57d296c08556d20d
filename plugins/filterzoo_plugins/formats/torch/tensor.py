"""Converts named views of storages to `Tensor` records, with the scales of quantised ones."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from filterzoo import (
    DTYPES,
    Codec,
    Convolution,
    Kind,
    Layout,
    Quantisation,
    RandomAccessFile,
    Reason,
    Refused,
    Span,
    StoredRange,
    Tensor,
)
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.array import array_tensor
from filterzoo_plugins.encodings.pickle.inert import Name
from filterzoo_plugins.formats.torch.names import NamedTensor
from filterzoo_plugins.formats.torch.values import Storage, StoredTensor

MAX_SCALE_BYTES = 1 << 20
"""Longest storage of scales or zero points, in bytes."""

Locate = Callable[[Storage], StoredRange]
"""The location of a storage in the file; Refused if it is missing."""

_SCALE_TYPES = {"F64": "d", "F32": "f", "I64": "q", "I32": "i"}


def tensors_of(
    file: RandomAccessFile, found: Iterable[NamedTensor], locate: Locate, pickle: StoredRange | None = None
) -> Iterator[Tensor]:
    """The records of named tensors and arrays. pickle: the stored range that contains arrays; None for the file."""
    for named in found:
        if isinstance(named.tensor, StoredTensor) and named.tensor.obstacle is not None:
            yield _unread(named, named.tensor)
        elif isinstance(named.tensor, StoredTensor):
            yield _stored_tensor(file, named, named.tensor, locate)
        elif (array := array_tensor(named.name, named.tensor, pickle)) is not None:
            yield replace(array, section=named.section)


def _stored_tensor(file: RandomAccessFile, named: NamedTensor, stored: StoredTensor, locate: Locate) -> Tensor:
    record = quantisation = None
    try:
        record = locate(stored.storage)
        quantisation = _quantisation(file, stored.quantiser, locate) if stored.quantiser else None
    except Refused as refusal:
        if record is not None and refusal.reason is Reason.UNSUPPORTED:
            return _unread(named, replace(stored, obstacle=refusal.detail))
        place = f"tensor {show(named.name)}, {refusal.where or ''}"
        raise Refused(refusal.reason, refusal.detail, place) from refusal
    size = DTYPES[stored.dtype].size
    tensor = Tensor(
        name=named.name,
        dtype=stored.dtype,
        shape=stored.shape,
        span=Span((record.offset if record.codec is Codec.RAW else 0) + stored.offset * size, stored.reach * size),
        strides=None if stored.is_contiguous else stored.strides,
        stored_in=(record,),
        quantisation=quantisation,
        section=named.section,
    )
    return tensor if named.convolution is None else with_convolution(tensor, named.convolution)


def _unread(named: NamedTensor, stored: StoredTensor) -> Tensor:
    tensor = Tensor(
        name=named.name,
        dtype=stored.dtype,
        shape=stored.shape,
        span=Span(0, 0),
        section=named.section,
        obstacle=stored.obstacle,
    )
    return tensor if named.convolution is None else with_convolution(tensor, named.convolution)


def with_convolution(tensor: Tensor, convolution: Convolution) -> Tensor:
    """The tensor as the weight of that operation; unchanged if it cannot be one."""
    if not 3 <= len(tensor.shape) <= 5:
        return tensor
    layout = Layout.IO_K if convolution.kind is Kind.TRANSPOSED else Layout.OI_K
    return replace(tensor, convolution=convolution, layout=layout)


def _quantisation(file: RandomAccessFile, quantiser: tuple[object, ...], locate: Locate) -> Quantisation | None:
    """Scales and zero points of (scheme, scale, zero point[, axis]); None for another kind of scheme."""
    match quantiser:
        case (Name(name="per_tensor_affine"), int() | float() as scale, int() as zero_point):
            return Quantisation((float(scale),), (int(zero_point),))
        case (Name(name="per_channel_affine"), StoredTensor() as scales, StoredTensor() as zero_points, int() as axis):
            factors = tuple(float(number) for number in _numbers(file, scales, locate))
            zeros = tuple(_as_integer(number) for number in _numbers(file, zero_points, locate))
            if len(factors) != len(zeros) or axis < 0:
                raise Refused(Reason.MALFORMED, "as many scales as zero points are needed, along one axis")
            return Quantisation(factors, zeros, int(axis))
    return None


def _as_integer(number: float) -> int:
    if not math.isfinite(number) or number != int(number):
        raise Refused(Reason.UNSUPPORTED, "a zero point that is no integer")
    return int(number)


def _numbers(file: RandomAccessFile, stored: StoredTensor, locate: Locate) -> tuple[float, ...]:
    """The elements of a small one-dimensional tensor; its whole storage is read to check its CRC."""
    record = locate(stored.storage)
    kind = _SCALE_TYPES.get(stored.dtype)
    if kind is None or len(stored.shape) != 1 or not stored.is_contiguous:
        raise Refused(Reason.UNSUPPORTED, "scales that are no plain vector of numbers")
    if record.codec is not Codec.RAW:
        raise Refused(Reason.UNSUPPORTED, "scales in a compressed storage")
    if record.length > MAX_SCALE_BYTES:
        raise Refused(Reason.LIMIT, f"{record.length} bytes of scales")
    content = file.read(record.offset, record.length)
    if record.crc32 is not None and zlib.crc32(content) != record.crc32:
        raise Refused(Reason.DAMAGED, "scales whose CRC-32 does not fit their bytes")
    return struct.unpack_from(f"<{stored.reach}{kind}", content, stored.offset * DTYPES[stored.dtype].size)
