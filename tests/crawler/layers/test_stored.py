"""Tensors come out of a file as they were stored, and no byte more is read than has to be."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.memory_file import MemoryFile

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.layers.decoding import PIECE
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Codec, Span, StoredRange, Tensor

RANDOM = np.random.default_rng(7)
WEIGHT = RANDOM.standard_normal((4, 2, 3, 3)).astype("<f4")
BYTES = WEIGHT.tobytes()


def tensor(span: Span, **fields: Any) -> Tensor:
    plain: dict[str, Any] = {"name": "w", "dtype": "F32", "shape": WEIGHT.shape, "span": span}
    return Tensor(**(plain | fields))


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()


def read(file: MemoryFile, *tensors: Tensor) -> list[np.ndarray]:
    with TensorReader(file) as reader:
        return [np.array(reader.read(each)) for each in tensors]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_plain_span_of_every_type(dtype):
    numbers = np.frombuffer(RANDOM.bytes(6 * DTYPES[dtype].size), DTYPES[dtype].numpy).reshape(2, 1, 3)
    file = MemoryFile(b"head" + numbers.tobytes() + b"tail")
    (got,) = read(file, tensor(Span(4, numbers.nbytes), dtype=dtype, shape=(2, 1, 3)))
    assert got.dtype == DTYPES[dtype].numpy
    assert got.tobytes() == numbers.tobytes()
    assert file.reads == [(4, numbers.nbytes)]


def test_only_the_wanted_bytes_are_read_and_each_once():
    file = MemoryFile(b"?" * 100 + BYTES + b"?" * 5000 + BYTES + b"?" * 100)
    first, second = tensor(Span(100, 288)), tensor(Span(5388, 288))
    assert all(np.array_equal(got, WEIGHT) for got in read(file, first, second))
    wanted = [False] * 100 + [True] * 288 + [False] * 5000 + [True] * 288 + [False] * 100
    assert file.times_read() == [int(is_wanted) for is_wanted in wanted]


def test_a_local_file_is_read_into_the_array(tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"1234" + BYTES)
    with LocalFile(path) as file, TensorReader(file) as reader:
        assert np.array_equal(reader.read(tensor(Span(4, 288))), WEIGHT)
        assert reader.read(tensor(Span(4, 288))).flags.writeable


@pytest.mark.parametrize(
    "view",
    [
        WEIGHT.transpose(1, 0, 2, 3),
        WEIGHT[::2],
        WEIGHT[1:, :, :, 1:],
        np.broadcast_to(WEIGHT[:1], WEIGHT.shape),
        WEIGHT.transpose(2, 3, 1, 0),
    ],
)
def test_strided_views(view):
    start = view.__array_interface__["data"][0] - WEIGHT.__array_interface__["data"][0]
    strides = tuple(step // 4 for step in view.strides)
    covered = 1 + sum((n - 1) * step for n, step in zip(view.shape, strides, strict=True))
    file = MemoryFile(b"head" + BYTES)
    (got,) = read(file, tensor(Span(4 + start, covered * 4), shape=view.shape, strides=strides))
    assert np.array_equal(got, view)
    assert file.reads == [(4 + start, covered * 4)]


@pytest.mark.parametrize("offset", [0, 1, 4, 712])
def test_a_span_in_a_checked_record_costs_the_record_once(offset):
    data = RANDOM.bytes(offset) + BYTES + RANDOM.bytes(712 - offset)
    file = MemoryFile(b"head" + data + b"tail")
    record = StoredRange(4, 1000, 1000, crc32=zlib.crc32(data))
    with TensorReader(file) as reader:
        assert np.array_equal(reader.read(tensor(Span(4 + offset, 288), stored_in=(record,))), WEIGHT)
        assert file.times_read() == [0] * 4 + [1] * 1000 + [0] * 4
        assert reader.has_crc
        reader.read(tensor(Span(4, 288), stored_in=(record,)))
        assert sum(file.times_read()) == 1288


def test_a_record_without_checksum_costs_its_span():
    file = MemoryFile(b"?" * 100 + BYTES + b"?" * 612)
    with TensorReader(file) as reader:
        assert np.array_equal(reader.read(tensor(Span(100, 288), stored_in=(StoredRange(0, 1000, 1000),))), WEIGHT)
        assert not reader.has_crc
    assert file.reads == [(100, 288)]


def test_large_records_are_checked_in_pieces():
    data = BYTES + bytes(3 * PIECE)
    file = MemoryFile(data)
    record = StoredRange(0, len(data), len(data), crc32=zlib.crc32(data))
    assert np.array_equal(read(file, tensor(Span(0, 288), stored_in=(record,)))[0], WEIGHT)
    assert max(length for _, length in file.reads) == PIECE
    assert set(file.times_read()) == {1}


@pytest.mark.parametrize(("codec", "pack"), [(Codec.DEFLATE, raw_deflate), (Codec.ZLIB, zlib.compress)])
def test_compressed_records(codec, pack):
    plain = b"header" + BYTES + b"more" + BYTES
    packed = pack(plain)
    file = MemoryFile(b"head" + packed + b"tail")
    record = StoredRange(4, len(packed), len(plain), codec, zlib.crc32(plain))
    got = read(file, tensor(Span(6, 288), stored_in=(record,)), tensor(Span(298, 288), stored_in=(record,)))
    assert all(np.array_equal(each, WEIGHT) for each in got)
    assert file.times_read() == [0] * 4 + [1] * len(packed) + [0] * 4


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"shuffle": True}]
)
@pytest.mark.parametrize("shape", [(3, 3, 5, 7), (9, 4, 3), (1, 1, 1)])
def test_chunks_of_a_real_hdf5_file(options, shape, tmp_path):
    weights = RANDOM.standard_normal(shape).astype("<f4")
    chunks = tuple(max(1, side // 2) for side in shape)
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("w", data=weights, chunks=chunks, **options)
    shuffles, packs = options.get("shuffle", False), "compression" in options
    codec = {
        (False, False): Codec.RAW,
        (False, True): Codec.ZLIB,
        (True, True): Codec.SHUFFLE_ZLIB,
        (True, False): Codec.SHUFFLE,
    }[shuffles, packs]
    size = int(np.prod(chunks)) * 4
    with h5py.File(path) as file:
        dataset = file["w"].id
        stored = [dataset.get_chunk_info(number) for number in range(dataset.get_num_chunks())]
    stored.sort(key=lambda chunk: chunk.chunk_offset)
    records = tuple(StoredRange(chunk.byte_offset, chunk.size, size, codec) for chunk in stored)
    with LocalFile(path) as file, TensorReader(file) as reader:
        got = reader.read(tensor(Span(0, 0), shape=shape, chunk_shape=chunks, stored_in=records))
        assert not reader.has_crc
    assert np.array_equal(got, weights)


def test_a_chunk_that_was_never_written_is_zero():
    records = (StoredRange(0, 144, 144), StoredRange(0, 0, 144))
    (got,) = read(MemoryFile(BYTES), tensor(Span(0, 0), chunk_shape=(2, 2, 3, 3), stored_in=records))
    assert np.array_equal(got[:2], WEIGHT[:2])
    assert not got[2:].any()


def test_side_files_are_opened_once_and_closed():
    file = MemoryFile(b"", {"side": b"??" + BYTES + BYTES})
    got = read(file, tensor(Span(2, 288, "side")), tensor(Span(290, 288, "side")))
    assert all(np.array_equal(each, WEIGHT) for each in got)
    assert file.sides["side"].reads == [(2, 288), (290, 288)]
    assert file.sides["side"].closed
    assert not file.closed


def damaged(**fields: Any) -> tuple[bytes, StoredRange]:
    plain = fields.pop("plain", BYTES)
    pack = fields.pop("pack", raw_deflate)
    data = fields.pop("data", pack(plain))
    stated: dict[str, Any] = {
        "length": len(data),
        "size": len(plain),
        "codec": Codec.DEFLATE,
        "crc32": zlib.crc32(plain),
    }
    return data, StoredRange(0, **(stated | {"codec": Codec.DEFLATE} | fields))


DAMAGED = {
    "wrong CRC of raw bytes": (damaged(pack=bytes, codec=Codec.RAW, crc32=1), Reason.DAMAGED),
    "wrong CRC of deflated bytes": (damaged(crc32=1), Reason.DAMAGED),
    "a flipped bit": (damaged(data=bytes((BYTES[0] ^ 1,)) + BYTES[1:], codec=Codec.RAW), Reason.DAMAGED),
    "no deflate stream": (damaged(data=b"\xff" * 50), Reason.DAMAGED),
    "a stream cut off": (damaged(data=raw_deflate(BYTES)[:-20]), Reason.DAMAGED),
    "an empty stream": (damaged(data=b""), Reason.DAMAGED),
    "a stream that is too short": (damaged(size=500), Reason.DAMAGED),
    "a stream that is too long": (damaged(size=200), Reason.LIMIT),
    "a stream with one byte more": (damaged(size=287), Reason.LIMIT),
    "bytes behind the stream": (damaged(data=raw_deflate(BYTES) + b"more"), Reason.DAMAGED),
    "pieces behind the stream": (damaged(data=raw_deflate(BYTES) + bytes(3 * PIECE)), Reason.DAMAGED),
    "zlib's own checksum": (
        damaged(data=zlib.compress(BYTES)[:-1] + b"\0", codec=Codec.ZLIB, crc32=None),
        Reason.DAMAGED,
    ),
    "a bomb": (damaged(plain=bytes(50 << 20), size=1000), Reason.LIMIT),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_refused(case):
    (data, record), reason = DAMAGED[case]
    span = Span(0, min(record.size, 288))
    with pytest.raises(Refused) as raised:
        read(MemoryFile(data), tensor(span, shape=(span.length // 4, 1, 1), stored_in=(record,)))
    assert raised.value.reason is reason
    assert raised.value.where == "w"


def test_a_bomb_is_not_unpacked():
    bomb = raw_deflate(bytes(100 << 20))
    file = MemoryFile(bomb)
    with pytest.raises(Refused), TensorReader(file) as reader:
        reader.read(tensor(Span(0, 288), stored_in=(StoredRange(0, len(bomb), 288, Codec.DEFLATE),)))
    assert len(file.reads) == 1


def test_a_span_behind_the_end_is_refused():
    for file in (MemoryFile(BYTES), MemoryFile(b"", {"side": BYTES})):
        side = "side" if file.sides else None
        with pytest.raises(Refused) as raised:
            read(file, tensor(Span(4, 288, side)))
        assert raised.value.reason is Reason.MALFORMED


def test_what_was_read_says_whether_a_checksum_covered_it():
    file = MemoryFile(BYTES)
    checked = tensor(Span(0, 288), stored_in=(StoredRange(0, 288, 288, crc32=zlib.crc32(BYTES)),))
    with TensorReader(file) as reader:
        assert not reader.has_crc
        reader.read(checked)
        assert reader.has_crc
        reader.read(tensor(Span(0, 288)))
        assert not reader.has_crc


def test_an_archive_members_checksum_covers_all_in_it():
    file = MemoryFile(b"head" + BYTES)
    with TensorReader(file) as reader:
        reader.check([StoredRange(4, 288, 288, crc32=zlib.crc32(BYTES))])
        reader.read(tensor(Span(4, 288)))
        assert reader.has_crc
        with pytest.raises(Refused) as raised:
            reader.check([StoredRange(0, 288, 288, crc32=1)])
        assert raised.value.reason is Reason.DAMAGED


def test_a_file_that_became_shorter_is_changed(tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(BYTES)
    with LocalFile(path) as file:
        path.write_bytes(BYTES[:100])
        with pytest.raises(Refused) as raised, TensorReader(file) as reader:
            reader.read(tensor(Span(0, 288)))
    assert raised.value.reason is Reason.CHANGED
