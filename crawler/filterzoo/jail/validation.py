"""What the parent believes of a table that came out of the jail: nothing that does not fit the file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import ceil, isfinite, prod

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.normalise import canonical_shape
from filterzoo.records import Codec, Index, Layout, Record, Span, Tensor

MAX_NUMBERS = 1 << 33
"""Most numbers of one layer (32 GiB as float32)."""
MAX_EXPANSION = 1 << 24
"""Most numbers a view may have beyond those its bytes hold (axes of stride 0)."""


def validate(index: Index, size: int) -> None:
    """Refused (malformed or limit) unless every span, record and shape fits itself and a file of `size` bytes."""
    for tensor in index.convolutions:
        _check_shape(tensor)
        _check_bytes(tensor, size)
        _check_quantisation(tensor)
    _check_overlaps(index.convolutions)


def _require(holds: bool, tensor: Tensor, what: str, reason: Reason = Reason.MALFORMED) -> None:  # noqa: FBT001
    if not holds:
        raise Refused(reason, what, tensor.name[:200])


def _check_shape(tensor: Tensor) -> None:
    _require(tensor.dtype in DTYPES, tensor, f"unknown dtype {tensor.dtype[:20]!r}")
    _require(3 <= len(tensor.shape) <= 5, tensor, f"a convolution weight has rank 3 to 5, not {len(tensor.shape)}")
    _require(all(side > 0 for side in tensor.shape), tensor, f"impossible shape {tensor.shape}")
    _require(prod(tensor.shape) <= MAX_NUMBERS, tensor, f"{prod(tensor.shape)} numbers in one layer", Reason.LIMIT)
    _require(tensor.layout is not Layout.OTHER, tensor, "a convolution weight without a layout")
    convolution = tensor.convolution
    _require(convolution is not None, tensor, "no convolution reads it")
    groups = (convolution.groups if convolution else None) or 1
    _require(groups >= 1, tensor, f"{groups} groups")
    channels = tensor.shape[0] if tensor.layout is Layout.IO_K else canonical_shape(tensor)[0]
    _require(channels % groups == 0, tensor, f"{channels} channels do not split into {groups} groups")


def _check_bytes(tensor: Tensor, size: int) -> None:
    item = DTYPES[tensor.dtype].size
    if tensor.chunk_shape is not None:
        _check_chunks(tensor, tensor.chunk_shape, item, size)
        return
    _require(tensor.span.length == _covered(tensor) * item, tensor, "the span is not as long as shape and dtype need")
    if not tensor.records:
        _check_inside(tensor, tensor.span, size)
        return
    _require(len(tensor.records) == 1, tensor, "several records without a chunk shape")
    record = tensor.records[0]
    if tensor.span.side is None:
        _check_record(tensor, record, size)
    begin, length = (record.offset, record.length) if record.codec is Codec.RAW else (0, record.size)
    inside = begin <= tensor.span.offset and tensor.span.offset + tensor.span.length <= begin + length
    _require(inside, tensor, "the span lies outside its record")


def _covered(tensor: Tensor) -> int:
    """How many numbers lie between the first and the last one of the view, both included."""
    numbers = prod(tensor.shape)
    if tensor.strides is None:
        return numbers
    fits = len(tensor.strides) == len(tensor.shape) and all(0 <= step <= MAX_NUMBERS for step in tensor.strides)
    _require(fits, tensor, f"impossible strides {tensor.strides}")
    covered = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    _require(numbers <= covered + MAX_EXPANSION, tensor, "a view of more numbers than its bytes hold", Reason.LIMIT)
    return covered


def _check_chunks(tensor: Tensor, chunk_shape: tuple[int, ...], item: int, size: int) -> None:
    fits = len(chunk_shape) == len(tensor.shape) and all(side > 0 for side in chunk_shape)
    _require(fits, tensor, f"impossible chunks {chunk_shape}")
    count = prod(ceil(n / c) for n, c in zip(tensor.shape, chunk_shape, strict=True))
    _require(len(tensor.records) == count, tensor, f"{count} chunks expected, {len(tensor.records)} listed")
    for record in tensor.records:
        _require(record.size == prod(chunk_shape) * item, tensor, "a chunk of another size than its shape")
        if record.length:
            _check_record(tensor, record, size)


def _check_record(tensor: Tensor, record: Record, size: int) -> None:
    _check_inside(tensor, Span(record.offset, record.length), size)
    _require(0 <= record.size <= MAX_NUMBERS * 8, tensor, f"a record of {record.size} bytes", Reason.LIMIT)
    is_plain = record.codec in {Codec.RAW, Codec.SHUFFLE}
    _require(not is_plain or record.size == record.length, tensor, "a plain record of two sizes")


def _check_inside(tensor: Tensor, span: Span, size: int) -> None:
    # A side file's own size is checked when it is opened and read; it is not `size`.
    end = size if span.side is None else 1 << 62
    inside = span.offset >= 0 and span.length >= 0 and span.offset + span.length <= end
    _require(inside, tensor, f"bytes {span.offset}..{span.offset + span.length} lie outside the file")


def _check_quantisation(tensor: Tensor) -> None:
    quantisation = tensor.quantisation
    if quantisation is None:
        return
    axis = quantisation.axis
    _require(axis is None or 0 <= axis < len(tensor.shape), tensor, f"quantised along axis {axis}")
    slices = 1 if axis is None else tensor.shape[axis]
    lengths = {len(quantisation.scales), len(quantisation.zero_points)}
    _require(lengths == {slices}, tensor, f"{slices} scales and zero points expected")
    _require(all(isfinite(scale) for scale in quantisation.scales), tensor, "a scale that is not finite")
    _require(all(abs(zero) < 1 << 31 for zero in quantisation.zero_points), tensor, "a zero point beyond int32")


def _check_overlaps(tensors: Iterable[Tensor]) -> None:
    """Two tensors share bytes only when they are tied: the same span, or views into one record."""
    plain = {(t.span.side or "", t.span.offset, t.span.length): t for t in tensors if not t.records}
    for (side, offset, length), (next_side, next_offset, _) in pairwise(sorted(plain)):
        if side == next_side and next_offset < offset + length:
            tensor = plain[side, offset, length]
            raise Refused(
                Reason.MALFORMED, f"its bytes and those of another tensor overlap at {next_offset}", tensor.name
            )
