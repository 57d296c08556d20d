"""Bounds the expansion of a whole file: compressed records, views and tied layers together.

`validation` bounds each record and each view. Many of them below that bound could still expand kilobytes to gigabytes,
so the sums over the file are bounded as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.layers.computations import numbers_of, stored_tensors
from filterzoo.records import Tensor

MAX_EXPANSION = 1 << 24
"""Most elements of a layer, or of all layers of a file, beyond those in the decoded bytes. They come from axes of
stride 0, chunks that were never written or are listed twice, and views that share elements.
"""
UNSUSPECTED = 64 << 20
"""No ratio applies to fewer decoded bytes than this ..."""
MAX_RATIO = 100
"""... and above, the largest ratio of decoded to stored bytes: weights hardly compress, bombs do."""
_FLOAT = 4


def check_expansion(tensors: Iterable[Tensor]) -> None:
    """Refused (limit) if the layers of a file far exceed its bytes; tied layers count once for each listing."""
    places: dict[tuple[str, int, int], int] = {}
    distinct: dict[object, int] = {}
    numbers = 0
    for tensor in tensors:
        numbers += numbers_of(tensor)
        for stored_tensor in stored_tensors(tensor):
            size = prod(stored_tensor.shape) * DTYPES[stored_tensor.dtype].size
            distinct[bytes_of(stored_tensor)] = size
            _add_byte_ranges(places, stored_tensor)
    stored = sum(length for _side, _offset, length in places)
    decoded, most = sum(places.values()), max(UNSUSPECTED, MAX_RATIO * stored)
    if decoded > most:
        raise Refused(Reason.LIMIT, f"{stored} stored bytes decode to {decoded}, {most} are allowed")
    claimed = sum(distinct.values())
    if claimed > decoded + _FLOAT * MAX_EXPANSION:
        raise Refused(Reason.LIMIT, f"its layers claim {claimed} bytes, only {decoded} are there")
    if numbers * _FLOAT > most:
        detail = f"{stored} stored bytes give layers of {numbers} numbers in all, {most // _FLOAT} are allowed"
        raise Refused(Reason.LIMIT, detail)


def bytes_of(tensor: Tensor) -> object:
    """A key that is equal for tied tensors."""
    where = tensor.span, tensor.stored_in, tensor.shape, tensor.strides, tensor.chunk_shape
    return *where, tensor.dtype, tensor.quantisation, tensor.computation


def _add_byte_ranges(places: dict[tuple[str, int, int], int], tensor: Tensor) -> None:
    """The byte ranges that a tensor is read from, each with its decoded length."""
    side, span = tensor.span.side or "", tensor.span
    if not tensor.stored_in:
        places[side, span.offset, span.length] = span.length
    for record in tensor.stored_in:
        if record.length:
            place = side, record.offset, record.length
            places[place] = max(places.get(place, 0), record.size)
