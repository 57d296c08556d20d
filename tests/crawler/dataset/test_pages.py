"""A page that states other counts than the footer is refused before it is decoded."""

from __future__ import annotations

import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.crawler.dataset import parquet_files as made

from filterzoo.dataset.footers import LONGEST, read_footer
from filterzoo.dataset.pages import check_pages
from filterzoo.dataset.parquet import ParquetFile
from filterzoo.errors import FilterZooError

NUMBERS = np.arange(8, dtype="<i8").tobytes()
TWO_PAGES = made.data_page(3, NUMBERS[:24]) + made.data_page(5, NUMBERS[24:])
INDICES = b"\3\3\x88\xc6\xfa"
"""Of eight entries, in order: three bits each, bit-packed."""
MANY = 1 << 31


def read(content: bytes) -> list[int]:
    with ParquetFile(io.BytesIO(content)) as file:
        return file.read()["x"].to_pylist()


def test_honest_files_of_the_assembler_are_read_as_pyarrow_reads_them():
    content = made.file(TWO_PAGES, 8)
    assert read(content) == pq.read_table(io.BytesIO(content))["x"].to_pylist() == list(range(8))
    head = made.dictionary_page(8, NUMBERS)
    pages = head + made.data_page(8, INDICES, encoding=made.RLE_DICTIONARY)
    assert read(made.file(pages, 8, dictionary=4, offset=4 + len(head))) == list(range(8))


LIES = {
    "more values in a page": made.file(made.data_page(MANY - 1, NUMBERS), 8),
    "fewer values in a page": made.file(made.data_page(7, NUMBERS), 8),
    "a negative count": made.file(made.data_page(-8, NUMBERS), 8),
    "a page that unpacks to more": made.file(
        made.page(made.DATA, {1: 8, 2: 0, 3: 3, 4: 3}, NUMBERS, whole=MANY - 1), 8
    ),
    "a dictionary of more entries than bytes": made.file(
        made.dictionary_page(MANY - 1, NUMBERS) + TWO_PAGES, 8, dictionary=4, offset=80
    ),
    "a second dictionary": made.file(TWO_PAGES + made.dictionary_page(8, NUMBERS), 8),
    "an encoding with counts of its own": made.file(made.data_page(8, NUMBERS, encoding=made.DELTA), 8),
    "a page of indexes": made.file(made.page(made.INDEX, {}, NUMBERS) + TWO_PAGES, 8),
    "more levels than bytes": made.file(
        made.page(made.DATA_V2, {1: 8, 2: 0, 3: 8, 4: 0, 5: MANY - 1, 6: 0}, NUMBERS), 8
    ),
    "more rows than values": made.file(
        made.page(made.DATA_V2, {1: 8, 2: 0, 3: MANY - 1, 4: 0, 5: 0, 6: 0}, NUMBERS), 8
    ),
    "a head that is cut": made.file(TWO_PAGES[:4], 8),
    "a head out of order": made.file(b"\x06\x02\x00" + TWO_PAGES, 8),
    "a head that is a list": made.file(b"\x19\x15\x00\x00" + TWO_PAGES, 8),
    "a page without a head": made.file(made.thrift({1: 0, 2: 64, 3: 64}) + NUMBERS, 8),
    "thousands of empty pages": made.file(made.data_page(0, b"") * 5_000 + TWO_PAGES, 8),
    "a column outside": made.file(TWO_PAGES, 8, offset=1 << 40),
    "a column before the file": made.file(TWO_PAGES, 8, offset=-4),
    "a dictionary behind its column": made.file(TWO_PAGES, 8, dictionary=60),
    "a footer that states fewer bytes": made.file(TWO_PAGES, 8, size=1),
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES.keys())
def test_a_file_whose_pages_and_footer_disagree_is_refused(content):
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(FilterZooError) as error:
        read(content)
    assert "\n" not in str(error.value)
    assert pa.default_memory_pool().max_memory() <= max(before, 64 << 20)


def test_only_the_columns_that_are_asked_for_are_looked_at():
    table = pa.table({"a": [1, 2], "b": [[1.0], [2.0, 3.0]]})
    out = io.BytesIO()
    pq.write_table(table, out)
    content = bytearray(out.getvalue())
    group = pq.read_metadata(io.BytesIO(content)).row_group(0)
    b = group.column(1)
    begin = b.dictionary_page_offset
    content[begin : begin + b.total_compressed_size] = bytes(b.total_compressed_size)
    check_pages(memoryview(content), group, ["a"], "here")
    with pytest.raises(FilterZooError, match=r"b\.list\.element"):
        check_pages(memoryview(content), group, ["b"], "here")


@pytest.mark.parametrize(
    "options", [{}, {"data_page_version": "2.0"}, {"data_page_size": 1}, {"use_dictionary": False}]
)
def test_what_arrow_writes_of_every_type_is_read(options):
    n = 2_000
    table = pa.table(
        {
            "text": pa.array([None if i % 7 == 0 else str(i % 40) for i in range(n)]),
            "lists": pa.array([[float(j) for j in range(i % 4)] for i in range(n)]),
            "truth": pa.array([i % 3 == 0 for i in range(n)]),
            "nothing": pa.nulls(n, pa.int32()),
            "nested": pa.array([{"x": i, "y": [str(i)]} for i in range(n)]),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=n // 2, compression="zstd", **options)
    with ParquetFile(out) as file:
        assert file.read().equals(table)


def test_a_file_without_rows_is_read():
    out = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array([], pa.int64()), "t": pa.array([], pa.string())}), out)
    with ParquetFile(out) as file:
        assert file.read().num_rows == 0


def test_a_footer_that_is_too_long_is_not_parsed():
    content = b"PAR1" + bytes(LONGEST + 1) + struct.pack("<I", LONGEST + 1) + b"PAR1"
    with pytest.raises(FilterZooError, match="its footer has 4,194,305 bytes"):
        read_footer(io.BytesIO(content), "here")
