"""Reads a tensor's bytes by the index: all checksums are checked, all sizes bounded, and no byte is read twice."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.layers.computations import stored_tensors
from filterzoo.layers.decoding import IN_MEMORY, PIECE, DecodedRecord, check_crc, decode_into
from filterzoo.records import Codec, Span, StoredRange, Tensor

Array = npt.NDArray[Any]


class TensorReader:
    """Reads tensors of one artifact. Opens side files once; close it, or use it as a context manager.

    Besides the returned tensor it needs a few megabytes of memory: a compressed record that is much larger than a
    tensor in it is decoded to a temporary file in `scratch` (None: the system's folder).
    """

    def __init__(self, file: RandomAccessFile, scratch: Path | None = None) -> None:
        self.file = file
        """The file of tensors that are not in side files."""
        self._scratch = scratch
        self._sides: dict[str, RandomAccessFile] = {}
        self._announced: dict[str | None, list[tuple[int, int]]] = {}
        self._whole: frozenset[str | None] = frozenset()
        self._told: set[str] = set()
        self._checked: set[tuple[str | None, StoredRange]] = set()
        self._decoded: tuple[tuple[str | None, StoredRange], DecodedRecord] | None = None
        self._is_contained = False
        self._tensors_read = 0
        self._tensors_with_crc = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._forget_decoded()
        for side in self._sides.values():
            side.close()

    @property
    def has_crc(self) -> bool:
        """Whether bytes were read, and all of them were covered by CRC-32s of the format."""
        return self._tensors_read > 0 and (self._is_contained or self._tensors_read == self._tensors_with_crc)

    def will_read(self, tensors: Iterable[Tensor]) -> None:
        """Announce all tensors that will be read, in order; must be called before the first `read`.

        Reads of a remote file then share requests.

        A view into a record with a CRC costs reading the whole record once, because the CRC covers all of it.
        """
        for tensor in tensors:
            for stored in stored_tensors(tensor):
                self._announced.setdefault(stored.span.side, []).extend(byte_ranges(stored))
        self._announce(None, self.file)

    def take_whole(self, sides: Iterable[str | None]) -> None:
        """Must be called before `will_read`: these files (None: the artifact) are fetched completely."""
        self._whole = frozenset(sides)

    def file_of(self, side: str) -> RandomAccessFile:
        """The side file of that name, opened once."""
        if side not in self._sides:
            self._sides[side] = self.file.beside(side)
        return self._sides[side]

    def check(self, containers: Iterable[StoredRange]) -> None:
        """Compare the CRC-32 of the archive members that contain the model; Refused (damaged) on a mismatch."""
        guarded = [container for container in containers if container.crc32 is not None]
        self.file.will_read([(container.offset, container.length) for container in guarded])
        for container in guarded:
            check_crc(_crc_of(self.file, container), container, "the archive member")
            self._is_contained = True

    def read(self, tensor: Tensor) -> Array:
        """The tensor as stored: its dtype's bits, its stored shape.

        Refused (damaged) if a checksum does not match, (unsupported) if its elements cannot be read.
        """
        if tensor.obstacle is not None:
            raise Refused(Reason.UNSUPPORTED, tensor.obstacle, tensor.name)
        self._tensors_read += 1
        if tensor.chunk_shape is not None:
            return self._chunked(tensor)
        byte_range = self._byte_range(tensor)
        dtype = np.dtype(DTYPES[tensor.dtype].numpy)
        if tensor.strides is None:
            return byte_range.view(dtype).reshape(tensor.shape)
        strides = tuple(step * dtype.itemsize for step in tensor.strides)
        return np.lib.stride_tricks.as_strided(byte_range.view(dtype), tensor.shape, strides, writeable=False)

    def _byte_range(self, tensor: Tensor) -> npt.NDArray[np.uint8]:
        span = tensor.span
        file = self.file if span.side is None else self._side(span.side)
        if not tensor.stored_in:
            return _read(file, span.offset, span.length)
        record = tensor.stored_in[0]
        key = (span.side, record)
        self._tensors_with_crc += record.crc32 is not None
        if record.codec is not Codec.RAW:
            return self._decoded_part(file, key, span, tensor.name)
        if record.crc32 is None or key in self._checked:
            return _read(file, span.offset, span.length)
        byte_range, crc = _read_with_crc(file, record, span)
        check_crc(crc, record, tensor.name)
        self._checked.add(key)
        return byte_range

    def _decoded_part(
        self, file: RandomAccessFile, key: tuple[str | None, StoredRange], span: Span, name: str
    ) -> npt.NDArray[np.uint8]:
        """A byte range of a compressed record. The last record is kept, because several tensors may be views of it."""
        record = key[1]
        if record.size > IN_MEMORY and 2 * span.length >= record.size:
            # One array and its header, as in npz: decoded in place; the header is only checked.
            self._forget_decoded()
            part = np.empty(span.length, np.uint8)
            decode_into(file, record, name, part, span.offset)
            return part
        if self._decoded is None or self._decoded[0] != key:
            self._forget_decoded()
            self._decoded = key, DecodedRecord(file, record, name, self._scratch)
        return self._decoded[1].read(span.offset, span.length)

    def _forget_decoded(self) -> None:
        if self._decoded is not None:
            self._decoded[1].close()
            self._decoded = None

    def _chunked(self, tensor: Tensor) -> Array:
        """Assemble a chunked HDF5 data set; chunks are in C order of the chunk grid."""
        chunk_shape = tensor.chunk_shape or ()
        dtype = np.dtype(DTYPES[tensor.dtype].numpy)
        array = np.zeros(tensor.shape, dtype)
        file = self.file if tensor.span.side is None else self._side(tensor.span.side)
        grid = product(*(range(ceil(n / c)) for n, c in zip(tensor.shape, chunk_shape, strict=True)))
        for record, position in zip(tensor.stored_in, grid, strict=True):
            if record.length == 0:
                continue
            corner = [p * c for p, c in zip(position, chunk_shape, strict=True)]
            target = array[tuple(slice(start, start + c) for start, c in zip(corner, chunk_shape, strict=True))]
            # A chunk that is the whole array is decoded in place, without a second copy of a large layer.
            chunk = (
                target if target.shape == chunk_shape and target.flags.c_contiguous else np.empty(chunk_shape, dtype)
            )
            _fill(chunk, file, record, tensor.name)
            if chunk is not target:
                target[...] = chunk[tuple(slice(n) for n in target.shape)]
        return array

    def _side(self, name: str) -> RandomAccessFile:
        """A side file, with its reads announced."""
        file = self.file_of(name)
        if name not in self._told:
            self._told.add(name)
            self._announce(name, file)
        return file

    def _announce(self, side: str | None, file: RandomAccessFile) -> None:
        rest = [(0, file.size)] if side in self._whole else []
        file.will_read([*self._announced.get(side, ()), *rest])


def _fill(chunk: Array, file: RandomAccessFile, record: StoredRange, name: str) -> None:
    """Decode a chunk into an array in C order."""
    flat = chunk.reshape(-1).view(np.uint8)
    if "shuffle" not in record.codec.steps:
        decode_into(file, record, name, flat)
        return
    shuffled = np.empty(record.size, np.uint8)
    decode_into(file, record, name, shuffled)
    flat.reshape(-1, chunk.dtype.itemsize)[...] = shuffled.reshape(chunk.dtype.itemsize, -1).T


def byte_ranges(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """(offset, length) of the byte ranges that `TensorReader.read` reads, in order."""
    whole = [r for r in tensor.stored_in if r.crc32 is not None or r.codec is not Codec.RAW or tensor.chunk_shape]
    if not whole:
        yield tensor.span.offset, tensor.span.length
    yield from ((record.offset, record.length) for record in whole if record.length)


def _read(file: RandomAccessFile, offset: int, length: int) -> npt.NDArray[np.uint8]:
    data = np.empty(length, np.uint8)
    file.read_into(offset, data.data)
    return data


def _read_with_crc(file: RandomAccessFile, record: StoredRange, span: Span) -> tuple[npt.NDArray[np.uint8], int]:
    """The bytes of `span` and the CRC-32 of the raw record around them; every byte of the record is read once."""
    begin, end = span.offset, span.offset + span.length
    crc = 0
    for piece in _pieces(file, record.offset, begin):
        crc = zlib.crc32(piece, crc)
    byte_range = _read(file, begin, span.length)
    crc = zlib.crc32(byte_range.data, crc)
    for piece in _pieces(file, end, record.offset + record.length):
        crc = zlib.crc32(piece, crc)
    return byte_range, crc


def _pieces(file: RandomAccessFile, begin: int, end: int) -> Iterator[bytes]:
    for offset in range(begin, end, PIECE):
        yield file.read(offset, min(PIECE, end - offset))


def _crc_of(file: RandomAccessFile, record: StoredRange) -> int:
    crc = 0
    end = record.offset + record.length
    for offset in range(record.offset, end, PIECE):
        crc = zlib.crc32(file.read(offset, min(PIECE, end - offset)), crc)
    return crc
