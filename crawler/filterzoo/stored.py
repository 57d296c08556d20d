"""Reads a tensor's bytes as the index located them: every checksum checked, every size bounded, nothing read twice."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import product
from math import ceil
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.records import Codec, Record, Tensor

PIECE = 1 << 20
"""How many bytes are read at a time where a stretch is only checked or decoded."""

Array = npt.NDArray[Any]


class TensorReader:
    """Reads tensors of one artifact. Opens side files once; close it, or use it as a context manager."""

    def __init__(self, file: RandomAccessFile) -> None:
        self._file = file
        self._sides: dict[str, RandomAccessFile] = {}
        self._checked: set[Record] = set()
        self.has_crc = True
        """Whether every byte given so far was covered by a CRC-32 of the format."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for side in self._sides.values():
            side.close()

    def read(self, tensor: Tensor) -> Array:
        """The tensor as stored: its dtype's bits, its stored shape; Refused (damaged) where a checksum does not fit."""
        if tensor.chunk_shape is not None:
            return self._chunked(tensor)
        stretch = self._stretch(tensor)
        dtype = np.dtype(DTYPES[tensor.dtype].numpy)
        if tensor.strides is None:
            return stretch.view(dtype).reshape(tensor.shape)
        strides = tuple(step * dtype.itemsize for step in tensor.strides)
        return np.lib.stride_tricks.as_strided(stretch.view(dtype), tensor.shape, strides, writeable=False)

    def _stretch(self, tensor: Tensor) -> npt.NDArray[np.uint8]:
        span = tensor.span
        file = self._file if span.side is None else self._side(span.side)
        record = tensor.records[0] if tensor.records else None
        if record is None or record.crc32 is None:
            self.has_crc = False
        if record is None:
            return _read(file, span.offset, span.length)
        if record.codec is not Codec.RAW:
            decoded = _decode(file, record, tensor.name)
            return np.frombuffer(decoded, np.uint8)[span.offset : span.offset + span.length]
        if (span.offset, span.length) == (record.offset, record.length):
            data = _read(file, span.offset, span.length)
            _check_crc(zlib.crc32(data.data), record, tensor.name)
            return data
        if record not in self._checked:
            crc = 0
            for piece in _pieces(file, record):
                crc = zlib.crc32(piece, crc)
            _check_crc(crc, record, tensor.name)
            self._checked.add(record)
        return _read(file, span.offset, span.length)

    def _chunked(self, tensor: Tensor) -> Array:
        """Assemble a chunked HDF5 data set; chunks stand in C order of the chunk grid."""
        self.has_crc = False
        chunk_shape = tensor.chunk_shape or ()
        dtype = np.dtype(DTYPES[tensor.dtype].numpy)
        array = np.zeros(tensor.shape, dtype)
        grid = product(*(range(ceil(n / c)) for n, c in zip(tensor.shape, chunk_shape, strict=True)))
        for record, position in zip(tensor.records, grid, strict=True):
            if record.length == 0:
                continue
            chunk = np.frombuffer(_decode(self._file, record, tensor.name), np.uint8)
            if record.codec in {Codec.SHUFFLE, Codec.SHUFFLE_ZLIB}:
                chunk = chunk.reshape(dtype.itemsize, -1).T.reshape(-1)
            corner = [p * c for p, c in zip(position, chunk_shape, strict=True)]
            target = array[tuple(slice(start, start + c) for start, c in zip(corner, chunk_shape, strict=True))]
            target[...] = chunk.view(dtype).reshape(chunk_shape)[tuple(slice(n) for n in target.shape)]
        return array

    def _side(self, name: str) -> RandomAccessFile:
        if name not in self._sides:
            self._sides[name] = self._file.beside(name)
        return self._sides[name]


def _read(file: RandomAccessFile, offset: int, length: int) -> npt.NDArray[np.uint8]:
    data = np.empty(length, np.uint8)
    file.read_into(offset, data.data)
    return data


def _pieces(file: RandomAccessFile, record: Record) -> Iterator[bytes]:
    end = record.offset + record.length
    for offset in range(record.offset, end, PIECE):
        yield file.read(offset, min(PIECE, end - offset))


def _decode(file: RandomAccessFile, record: Record, name: str) -> bytearray:
    """The decoded bytes of a record, never more than `record.size` of them."""
    if record.codec in {Codec.RAW, Codec.SHUFFLE}:
        decoded = bytearray(file.read(record.offset, record.length))
    else:
        decoded = _inflate(file, record, name)
    if len(decoded) != record.size:
        raise Refused(Reason.DAMAGED, f"decodes to {len(decoded)} bytes, {record.size} are declared", name)
    _check_crc(zlib.crc32(decoded), record, name)
    return decoded


def _inflate(file: RandomAccessFile, record: Record, name: str) -> bytearray:
    machine = zlib.decompressobj(-zlib.MAX_WBITS if record.codec is Codec.DEFLATE else zlib.MAX_WBITS)
    decoded = bytearray()
    try:
        for piece in _pieces(file, record):
            decoded += machine.decompress(piece, record.size + 1 - len(decoded))
            if len(decoded) > record.size:
                raise Refused(Reason.LIMIT, f"decodes to more than the declared {record.size} bytes", name)
        decoded += machine.flush()
    except zlib.error as error:
        raise Refused(Reason.DAMAGED, f"broken compressed data: {error}", name) from error
    if not machine.eof:
        raise Refused(Reason.DAMAGED, "compressed data end too early", name)
    return decoded


def _check_crc(crc: int, record: Record, name: str) -> None:
    if record.crc32 is not None and crc != record.crc32:
        raise Refused(Reason.DAMAGED, f"CRC-32 is {crc:08x}, the file says {record.crc32:08x}", name)
