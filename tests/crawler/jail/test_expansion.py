"""Many small claims that each stay below their own bound do not add up to gigabytes."""

from __future__ import annotations

import pytest
from tests.crawler.jail.test_validation import conv, index

from filterzoo.errors import Reason, Refused
from filterzoo.jail.expansion import MAX_RATIO
from filterzoo.jail.validation import validate
from filterzoo.records import Codec, Span, StoredRange, Tensor

SIZE = 1 << 20
MEGABYTE = 1 << 20


def view(number: int, numbers: int, at: int = 0) -> Tensor:
    """A layer that repeats one number of a common storage of 100 numbers."""
    record = (StoredRange(at, 400, 400),)
    return conv(shape=(numbers, 1, 1), span=Span(at + 4 * number, 4), strides=(0, 0, 0), stored_in=record)


def large_view(number: int) -> Tensor:
    """A layer that repeats one number of a record that is as large as its file."""
    record = (StoredRange(0, SIZE, SIZE),)
    return conv(shape=(10_000_000, 1, 1), span=Span(4 * number, 4), strides=(0, 0, 0), stored_in=record)


def deflated(number: int, size: int, length: int) -> Tensor:
    record = (StoredRange(number * length, length, size, Codec.DEFLATE),)
    return conv(shape=(size // 4, 1, 1), span=Span(0, size), stored_in=record)


def part(number: int, size: int, length: int) -> Tensor:
    """One number of a compressed record."""
    record = (StoredRange(number * length, length, size, Codec.DEFLATE),)
    return conv(shape=(1, 1, 1), span=Span(0, 4), stored_in=record)


def tied(count: int) -> list[Tensor]:
    return [conv(shape=(SIZE // 36, 1, 3, 3), span=Span(0, SIZE // 36 * 36))] * count


def listed_again(times: int, numbers: int) -> Tensor:
    record = StoredRange(0, 400_000, 4 * numbers, Codec.ZLIB)
    return conv(shape=(times, numbers, 1), chunk_shape=(1, numbers, 1), span=Span(0, 0), stored_in=(record,) * times)


@pytest.mark.parametrize(
    "tensors",
    [
        [view(number, 100_000) for number in range(100)],
        [deflated(number, 6 * MEGABYTE, 1000) for number in range(10)],
        [deflated(0, 80 * MEGABYTE, SIZE)],
        [listed_again(8, MEGABYTE)],
        tied(MAX_RATIO),
    ],
    ids=["views", "well compressed and small", "compressed", "a chunk listed again", "tied"],
)
def test_some_expansion_is_honest(tensors: list[Tensor]):
    validate(index(*tensors), SIZE)


@pytest.mark.parametrize(
    "tensors",
    [
        [view(number, 1_000_000) for number in range(100)],
        [deflated(number, 60 * MEGABYTE, 1000) for number in range(10)],
        [part(number, 60 * MEGABYTE, 1000) for number in range(10)],
        [listed_again(24, MEGABYTE)],
        [listed_again(2, 10 * MEGABYTE), view(3, 10 * MEGABYTE, SIZE // 2)],
        tied(MAX_RATIO + 1),
        [large_view(number) for number in range(2)],
    ],
    ids=[
        "views",
        "compressed",
        "parts of what is compressed",
        "a chunk listed again",
        "a chunk and a view",
        "tied",
        "views of a large record",
    ],
)
def test_expansion_is_limited_over_the_whole_file(tensors: list[Tensor]):
    with pytest.raises(Refused) as raised:
        validate(index(*tensors), SIZE)
    assert raised.value.reason is Reason.LIMIT


def test_a_chunk_is_not_many_times_as_large_as_its_layer():
    record = (StoredRange(0, SIZE, 96 * MEGABYTE, Codec.ZLIB),)
    layer = conv(chunk_shape=(4, 2, 3 * MEGABYTE, 1), shape=(4, 2, 3, 1), span=Span(0, 0), stored_in=record)
    with pytest.raises(Refused, match="larger than its layer") as raised:
        validate(index(layer), SIZE)
    assert raised.value.reason is Reason.LIMIT
