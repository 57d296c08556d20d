"""Validates an index from the jail: it is untrusted, and every field is checked against the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import ceil, isfinite, prod

from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.errors import Reason, Refused
from filterzoo.files import check_side_name
from filterzoo.jail.expansion import MAX_EXPANSION, MAX_RATIO, UNSUSPECTED, check_expansion
from filterzoo.layers.computations import all_tensors, numbers_of, stored_tensors
from filterzoo.layers.shapes import canonical_shape, is_convolution_shape
from filterzoo.records import CHECKSUM_BYTES, Codec, Convolution, Index, Layout, Span, StoredRange, Tensor

MAX_NUMBERS = 1 << 30
"""Most elements of one layer (4 GiB as float32; the largest known layer has 0.3 G)."""
MAX_TOTAL_NUMBERS = 1 << 35
"""Most elements of all layers of a file: tied layers cost time without bytes."""
MAX_RECORD = 1 << 33
"""Most decoded bytes of one record."""
MAX_TEXT = 1 << 20
"""Most characters of the file's own facts."""
MAX_CONTAINERS = 8
"""Most levels of archives inside archives."""
MAX_COMPUTED = 4
"""The inputs of a computed weight may have this many times the elements of the largest layer."""
_REASONS_OF_LAYERS = frozenset({str(Reason.UNSUPPORTED), str(Reason.MALFORMED)})
"""Reasons for which a single convolution may be left out; all others refuse the file."""
MAX_RANK = 64
"""Most axes of an array that is not a convolution weight."""
_MOST_AXES = 16
_INT32 = 1 << 31
_INT64 = 1 << 63
_FLOAT32 = 3.4028235e38


def validate(index: Index, size: int) -> None:
    """Refused (malformed or limit) unless spans, records and shapes are consistent and fit a file of `size` bytes."""
    _check_facts(index, size)
    for tensor in index.convolutions:
        _check_shape(tensor)
        _check_convolution(tensor)
        _check_stored(tensor, size)
    for tensor in index.tensors:
        _check_listed(tensor, size)
    if sum(map(numbers_of, index.convolutions)) > MAX_TOTAL_NUMBERS:
        raise Refused(Reason.LIMIT, f"more than {MAX_TOTAL_NUMBERS} numbers in all layers")
    _check_overlaps([stored for tensor in index.convolutions for stored in stored_tensors(tensor)])
    check_expansion(index.convolutions)


def _check_facts(index: Index, size: int) -> None:
    """Check the file's own facts, and the archives that contain it."""
    if not 0 <= index.tensor_count < _INT32:
        raise Refused(Reason.MALFORMED, "an impossible number of tensors")
    if any(len(text or "") > MAX_TEXT for text in (index.facts.framework, index.facts.licence, index.passed_over)):
        raise Refused(Reason.LIMIT, f"it says more than {MAX_TEXT} characters of itself")
    if not 0 < (index.facts.opset or 1) < _INT32:
        raise Refused(Reason.MALFORMED, "an impossible version of its operators")
    if len(index.containers) > MAX_CONTAINERS:
        raise Refused(Reason.LIMIT, f"archives more than {MAX_CONTAINERS} deep in each other")
    for left in index.left_out:
        if left.reason not in _REASONS_OF_LAYERS or max(len(left.name), len(left.detail)) > MAX_TEXT:
            raise Refused(Reason.MALFORMED, "an impossible account of a convolution that is left out")
    for container in index.containers:
        if min(container.offset, container.length) < 0 or container.offset + container.length > size:
            raise Refused(Reason.MALFORMED, "an archive member that is outside the file")


def _check_stored(tensor: Tensor, size: int) -> None:
    """Check the bytes of a weight, or of all tensors it is computed from."""
    total = numbers_of(tensor)
    _require(total <= MAX_COMPUTED * MAX_NUMBERS, tensor, "too many numbers to compute it from", Reason.LIMIT)
    for each in all_tensors(tensor):
        _require(each.obstacle is None, each, "a convolution whose numbers cannot be read")
        fits = len(each.shape) <= _MOST_AXES and all(0 <= side < _INT32 for side in each.shape)
        _require(fits and each.dtype in DTYPES, each, "an impossible shape or dtype")
        _require(prod(each.shape) <= MAX_NUMBERS, each, "too many numbers", Reason.LIMIT)
        if each.computation is None:
            _check_bytes(each, size)
        if each.computation is None or each.quantisation is not None:
            _check_quantisation(each)


def _require(holds: bool, tensor: Tensor, what: str, reason: Reason = Reason.MALFORMED) -> None:  # noqa: FBT001  # it reads like assert
    if not holds:
        raise Refused(reason, what, tensor.name[:200])


def _check_listed(tensor: Tensor, size: int) -> None:
    """Check an array that is listed for `filterzoo.open`: any rank, any known type, its bytes inside the file."""
    _require(tensor.dtype in DTYPES, tensor, f"unknown dtype {tensor.dtype[:20]!r}")
    is_shape = len(tensor.shape) <= MAX_RANK and all(0 <= side < _INT64 for side in tensor.shape)
    _require(is_shape, tensor, "an impossible shape")
    _require(tensor.convolution is None, tensor, "a listed array with a convolution")
    if tensor.obstacle is not None:
        is_empty = tensor.span == Span(0, 0) and not tensor.stored_in and tensor.computation is None
        _require(is_empty and len(tensor.obstacle) <= MAX_TEXT, tensor, "an array with bytes that cannot be read")
        return
    if tensor.computation is not None:
        _check_stored(tensor, size)
        return
    _check_bytes(tensor, size, most=_INT64)
    if tensor.quantisation is not None:
        _check_quantisation(tensor)


def _check_shape(tensor: Tensor) -> None:
    _require(tensor.dtype in DTYPES, tensor, f"unknown dtype {tensor.dtype[:20]!r}")
    _require(is_convolution_shape(tensor.shape), tensor, "a convolution weight has rank 3 to 5 and no empty axis")
    _require(prod(tensor.shape) <= MAX_NUMBERS, tensor, f"more than {MAX_NUMBERS} numbers in one layer", Reason.LIMIT)
    _require(tensor.layout not in {Layout.OTHER, Layout.OPEN}, tensor, "a convolution weight without a layout")
    is_one = tensor.layout is not Layout.ONE_K_O or tensor.shape[0] == 1
    _require(is_one, tensor, f"a depthwise weight of shape {tensor.shape} must start with 1")


def _check_convolution(tensor: Tensor) -> None:
    convolution = tensor.convolution
    if convolution is None:
        raise Refused(Reason.MALFORMED, "no convolution reads it", tensor.name[:200])
    groups = 1 if convolution.groups is None else convolution.groups
    channels = tensor.shape[0] if tensor.layout is Layout.IO_K else canonical_shape(tensor)[0]
    _require(0 < groups <= channels, tensor, f"an impossible number of groups for {channels} channels")
    _require(channels % groups == 0, tensor, f"{channels} channels do not split into {groups} groups")
    _check_geometry(tensor, convolution)


def _check_geometry(tensor: Tensor, convolution: Convolution) -> None:
    """Check that the values fit their columns; they are the file's own statements and do not affect weights."""
    for name, numbers in (
        ("stride", convolution.stride),
        ("dilation", convolution.dilation),
        ("padding", convolution.padding),
    ):
        fits = numbers is None or (len(numbers) <= _MOST_AXES and all(-_INT64 <= n < _INT64 for n in numbers))
        _require(fits, tensor, f"impossible {name}")
    stated = convolution.stated_depth
    is_depth = stated is None or (0 <= stated[0] < _INT32 and 0 <= stated[1] <= 1)
    _require(is_depth, tensor, "impossible stated depth")
    depth = convolution.depth
    _require(depth is None or 0 <= depth < _INT32, tensor, "impossible depth")


def _check_bytes(tensor: Tensor, size: int, *, most: int = MAX_NUMBERS) -> None:
    item = DTYPES[tensor.dtype].size
    is_inside = all(0 <= n < _INT64 for n in (tensor.span.offset, tensor.span.length))
    _require(is_inside, tensor, "impossible span")
    if tensor.span.side is not None:
        check_side_name(tensor.span.side)
    if tensor.chunk_shape is not None:
        _check_chunks(tensor, tensor.chunk_shape, item, size)
        return
    _require(
        tensor.span.length == _covered(tensor, most) * item, tensor, "the span is not as long as shape and dtype need"
    )
    if not tensor.stored_in:
        _check_inside(tensor, tensor.span.offset, tensor.span.length, size)
        return
    _require(len(tensor.stored_in) == 1, tensor, "several records without a chunk shape")
    record = tensor.stored_in[0]
    _check_record(tensor, record, size)
    is_known = record.codec in {Codec.RAW, Codec.DEFLATE, Codec.ZLIB}
    _require(is_known, tensor, "a record that is coded as a chunk and is none")
    begin, length = (record.offset, record.length) if record.codec is Codec.RAW else (0, record.size)
    inside = begin <= tensor.span.offset and tensor.span.offset + tensor.span.length <= begin + length
    _require(inside, tensor, "the span is outside its record")


def _covered(tensor: Tensor, most: int) -> int:
    """The extent of the view in elements, from the first to the last one; at most `most`."""
    numbers = prod(tensor.shape)
    if tensor.strides is None or not numbers:
        return numbers
    fits = len(tensor.strides) == len(tensor.shape) and all(0 <= step < _INT32 for step in tensor.strides)
    _require(fits, tensor, "impossible strides")
    covered = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    _require(covered <= most, tensor, f"a view over more than {most} numbers", Reason.LIMIT)
    _require(numbers <= covered + MAX_EXPANSION, tensor, "a view of more numbers than its bytes hold", Reason.LIMIT)
    return covered


def _check_chunks(tensor: Tensor, chunk_shape: tuple[int, ...], item: int, size: int) -> None:
    _require(tensor.strides is None, tensor, "chunks of a view")
    fits = len(chunk_shape) == len(tensor.shape) and all(0 < side < _INT32 for side in chunk_shape)
    _require(fits, tensor, "impossible chunks")
    count = prod(ceil(n / c) for n, c in zip(tensor.shape, chunk_shape, strict=True))
    _require(len(tensor.stored_in) == count, tensor, f"{count} chunks expected, {len(tensor.stored_in)} listed")
    unwritten = 0
    chunk = prod(chunk_shape) * item
    for record in tensor.stored_in:
        _require(record.size == chunk, tensor, "a chunk of another size than its shape")
        if record.length == 0:
            unwritten += record.size // item
        else:
            _check_record(tensor, record, size)
    _require(unwritten <= MAX_EXPANSION, tensor, "more numbers than were ever written", Reason.LIMIT)
    # A chunk is decoded as a whole: it must not be many times as large as the layer.
    most = max(UNSUSPECTED, prod(tensor.shape) * item)
    _require(chunk <= most, tensor, f"a chunk of {chunk} bytes, larger than its layer", Reason.LIMIT)


def _check_record(tensor: Tensor, record: StoredRange, size: int) -> None:
    _check_inside(tensor, record.offset, record.length, size)
    _require(record.size >= 0, tensor, "a record of a negative size")
    is_plain = not {"deflate", "zlib", "lzf"}.intersection(record.codec.steps)
    length = record.length - (CHECKSUM_BYTES if "fletcher32" in record.codec.steps else 0)
    _require(not is_plain or record.size == length, tensor, "a plain record of two sizes")
    most = MAX_RECORD if is_plain else min(MAX_RECORD, max(UNSUSPECTED, MAX_RATIO * record.length))
    _require(record.size <= most, tensor, f"a record that decodes to more than {most} bytes", Reason.LIMIT)


def _check_inside(tensor: Tensor, offset: int, length: int, size: int) -> None:
    # A side file's own size is checked when it is opened and read; it is not `size`.
    end = size if tensor.span.side is None else _INT64
    inside = 0 <= offset <= end and 0 <= length <= end - offset
    _require(inside, tensor, f"its bytes lie outside the file of {size} bytes")


def _check_quantisation(tensor: Tensor) -> None:
    number_class = DTYPES[tensor.dtype].number_class
    _require(number_class is not NumberClass.OTHER, tensor, f"{tensor.dtype} is no weight", Reason.UNSUPPORTED)
    quantisation = tensor.quantisation
    if quantisation is None:
        return
    axis = quantisation.axis
    _require(axis is None or 0 <= axis < len(tensor.shape), tensor, "quantised along an axis it has not")
    slices = 1 if axis is None else tensor.shape[axis]
    lengths = {len(quantisation.scales), len(quantisation.zero_points)}
    _require(lengths == {slices}, tensor, f"{slices} scales and zero points expected")
    fits = all(isfinite(scale) and abs(scale) <= _FLOAT32 for scale in quantisation.scales)
    _require(fits, tensor, "a scale that is not finite")
    _require(all(abs(zero) < _INT32 for zero in quantisation.zero_points), tensor, "a zero point beyond int32")


def _check_overlaps(tensors: Iterable[Tensor]) -> None:
    """Check that two tensors share bytes only if they are tied: the same span, or views into one record."""
    owners = {place: tensor for tensor in tensors for place in _byte_ranges(tensor)}
    for (side, offset, length), (next_side, next_offset, next_length) in pairwise(sorted(owners)):
        if side == next_side and next_offset < offset + length:
            tensor = owners[next_side, next_offset, next_length]
            detail = f"its bytes and those of another tensor overlap at {next_offset}"
            raise Refused(Reason.MALFORMED, detail, tensor.name[:200])


def _byte_ranges(tensor: Tensor) -> Iterator[tuple[str, int, int]]:
    """The byte ranges of files that a tensor is read from: side file, offset, length."""
    side = tensor.span.side or ""
    if not tensor.stored_in:
        yield side, tensor.span.offset, tensor.span.length
    for record in tensor.stored_in:
        if record.length:
            yield side, record.offset, record.length
