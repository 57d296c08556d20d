"""The storage of an HDF5 data set: one byte range of the file, or chunks that are decoded one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod

from h5py import h5d, h5s, h5t, h5z

from filterzoo import DTYPES, Codec, Reason, Refused, Span, StoredRange
from filterzoo_plugins.encodings.expansion import check_expansion
from filterzoo_plugins.encodings.hdf5.tree import H5DataSet, text_attribute
from filterzoo_plugins.encodings.names import show

MAX_CHUNKS = 200_000
"""Most chunks of one data set: each becomes a record."""

# (sign bit, exponent's first bit, exponent bits, mantissa's first bit, mantissa bits, exponent bias)
_FLOATS = {
    (15, 10, 5, 0, 10, 15): "F16",
    (15, 7, 8, 0, 7, 127): "BF16",
    (31, 23, 8, 0, 23, 127): "F32",
    (63, 52, 11, 0, 52, 1023): "F64",
}
_STEPS = {
    "shuffle": h5z.FILTER_SHUFFLE,
    "zlib": h5z.FILTER_DEFLATE,
    "lzf": h5z.FILTER_LZF,
    "fletcher32": h5z.FILTER_FLETCHER32,
}
_CODECS = {tuple(_STEPS[step] for step in codec.steps): codec for codec in Codec if codec is not Codec.DEFLATE}
"""Filters of a chunk, in the order of writing, and the codec that undoes them."""
_FILTERS = {
    h5z.FILTER_SZIP: "szip",
    h5z.FILTER_NBIT: "n-bit",
    h5z.FILTER_SCALEOFFSET: "scale-offset",
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    **{code: step for step, code in _STEPS.items()},
}
"""https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md"""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """The fields of a Tensor that its data set determines."""

    dtype: str
    shape: tuple[int, ...]
    span: Span
    stored_in: tuple[StoredRange, ...] = ()
    chunk_shape: tuple[int, ...] | None = None
    is_big: bool = False
    """Whether its elements are big-endian."""


def shape_of(data_set: H5DataSet) -> tuple[int, ...]:
    """Its shape; () for a data set without one."""
    space = data_set.id.get_space()
    is_array = space.get_simple_extent_type() == h5s.SIMPLE
    return tuple(int(side) for side in space.get_simple_extent_dims()) if is_array else ()


def locate(data_set: H5DataSet, *, opaque: str | None = None) -> StoredArray | None:
    """Type, shape and bytes; None for anything but numbers; Refused for unreadable numbers.

    opaque: the dtype of untagged opaque values of the same size, for types that HDF5 lacks, such as bfloat16.
    """
    dtype = _dtype(data_set, opaque)
    space = data_set.id.get_space()
    if dtype is None or space.get_simple_extent_type() == h5s.NULL:
        return None
    shape = tuple(int(side) for side in space.get_simple_extent_dims())
    layout = data_set.id.get_create_plist().get_layout()
    if layout == h5d.CHUNKED:
        stored = _chunked(data_set, dtype, shape)
    elif layout == h5d.CONTIGUOUS:
        stored = _contiguous(data_set, dtype, shape)
    else:
        raise Refused(Reason.UNSUPPORTED, "numbers in the header of a data set (compact layout)", show(data_set.name))
    return replace(stored, is_big=_is_big(data_set))


def _is_big(data_set: H5DataSet) -> bool:
    stored = data_set.id.get_type()
    return stored.get_class() in {h5t.FLOAT, h5t.INTEGER} and stored.get_order() == h5t.ORDER_BE


def _dtype(data_set: H5DataSet, opaque: str | None) -> str | None:
    stored = data_set.id.get_type()
    where = show(data_set.name)
    match stored.get_class():
        case h5t.FLOAT:
            name = _FLOATS.get((*stored.get_fields(), stored.get_ebias()))
            if name is None or stored.get_norm() != h5t.NORM_IMPLIED:
                raise Refused(Reason.UNSUPPORTED, f"a float of {stored.get_size()} bytes that is not IEEE's", where)
        case h5t.INTEGER:
            name = f"{'U' if stored.get_sign() == h5t.SGN_NONE else 'I'}{8 * stored.get_size()}"
        case h5t.OPAQUE if text_attribute(data_set.id, "dtype") == b"bfloat16":
            return "BF16" if stored.get_size() == DTYPES["BF16"].size else None
        case h5t.OPAQUE if opaque is not None and stored.get_size() == DTYPES[opaque].size and not stored.get_tag():
            return opaque
        case h5t.OPAQUE:
            raise Refused(Reason.UNSUPPORTED, f"opaque values of {stored.get_size()} bytes", where)
        case h5t.REFERENCE:
            raise Refused(Reason.UNSUPPORTED, "a data set of references", where)
        case _:
            return None
    if name not in DTYPES or DTYPES[name].size != stored.get_size() or 8 * stored.get_size() != stored.get_precision():
        raise Refused(Reason.UNSUPPORTED, f"numbers of {stored.get_precision()} bits", where)
    if stored.get_order() not in {h5t.ORDER_LE, h5t.ORDER_BE}:
        raise Refused(Reason.UNSUPPORTED, "numbers in a byte order that is neither little- nor big-endian", where)
    return name


def _contiguous(data_set: H5DataSet, dtype: str, shape: tuple[int, ...]) -> StoredArray:
    length = prod(shape) * DTYPES[dtype].size
    stored = data_set.id.get_storage_size()
    offset = data_set.id.get_offset()
    if length == 0:
        return StoredArray(dtype, shape, Span(0, 0))
    if offset is None or stored != length:
        reason = Reason.LIMIT if stored < length else Reason.MALFORMED
        raise Refused(reason, f"{length} bytes are declared, {stored} are stored", show(data_set.name))
    return StoredArray(dtype, shape, Span(offset, length))


def _chunked(data_set: H5DataSet, dtype: str, shape: tuple[int, ...]) -> StoredArray:
    """Records in C order of the chunk grid; chunks that were never written hold zeros."""
    where = show(data_set.name)
    creation = data_set.id.get_create_plist()
    chunk_shape = tuple(int(side) for side in creation.get_chunk())
    size = prod(chunk_shape) * DTYPES[dtype].size
    grid = tuple(ceil(side / chunk) for side, chunk in zip(shape, chunk_shape, strict=True))
    check_expansion(prod(grid) * size, data_set.id.get_storage_size(), where)
    if prod(grid) > MAX_CHUNKS:
        raise Refused(Reason.LIMIT, f"{prod(grid)} chunks; at most {MAX_CHUNKS} are read", where)
    filters = tuple(creation.get_filter(number)[0] for number in range(creation.get_nfilters()))
    if filters not in _CODECS:
        named = ", ".join(_FILTERS.get(code, str(code)) for code in filters)
        raise Refused(Reason.UNSUPPORTED, f"chunks that went through the HDF5 filters {named}", where)
    written = _written_chunks(data_set.id, chunk_shape, filters, size)
    places = list(product(*map(range, grid)))
    if len(written) < len(places) and creation.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED:
        raise Refused(Reason.UNSUPPORTED, "chunks that were never written and do not hold zeros", where)
    records = tuple(written.get(place, StoredRange(0, 0, size)) for place in places)
    return StoredArray(dtype, shape, Span(0, 0), records, chunk_shape)


def _written_chunks(
    dataset: h5d.DatasetID, chunk_shape: tuple[int, ...], filters: tuple[int, ...], size: int
) -> dict[tuple[int, ...], StoredRange]:
    """Position in the chunk grid -> record. A chunk may omit filters that did not make it smaller."""
    written: dict[tuple[int, ...], StoredRange] = {}

    def take(chunk: h5d.StoreInfo) -> None:
        applied = tuple(code for bit, code in enumerate(filters) if not chunk.filter_mask >> bit & 1)
        if applied not in _CODECS:
            raise Refused(Reason.MALFORMED, "a chunk whose filters are not those of its data set")
        place = tuple(start // side for start, side in zip(chunk.chunk_offset, chunk_shape, strict=True))
        if chunk.byte_offset is not None:
            written[place] = StoredRange(chunk.byte_offset, chunk.size, size, _CODECS[applied])

    if dataset.get_storage_size():
        dataset.chunk_iter(take)
    return written
