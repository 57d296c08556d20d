"""The one inflate loop gives all bytes, in bounded pieces, and says what is wrong with the others."""

from __future__ import annotations

import random
import zlib

import pytest

from filterzoo.inflating import PIECE, BrokenDataError, inflate

RAW, GZIP = -zlib.MAX_WBITS, 16 + zlib.MAX_WBITS


def deflated(data: bytes, bits: int = RAW) -> bytes:
    machine = zlib.compressobj(wbits=bits)
    return machine.compress(data) + machine.flush()


def cut(data: bytes, length: int) -> list[bytes]:
    return [data[at : at + length] for at in range(0, len(data), length)]


@pytest.mark.parametrize("length", [1, 7, 1000, 1 << 22])
def test_all_bytes_come_however_the_packed_ones_are_cut(length):
    data = random.Random(0).randbytes(3000) + b"filter" * 2000
    assert b"".join(inflate(cut(deflated(data), length), RAW)) == data


@pytest.mark.parametrize("size", [*range(PIECE - 3, PIECE + 4), 2 * PIECE, 5 * PIECE + 1])
def test_pieces_are_bounded_and_none_is_lost_at_their_edges(size):
    pieces = list(inflate([deflated(b"\1" * size)], RAW))
    assert (sum(map(len, pieces)), max(map(len, pieces)) <= PIECE) == (size, True)


def test_gzip_members_in_a_row_are_one_file_with_zeros_between_them():
    packed = deflated(b"one", GZIP) + bytes(5) + deflated(b"two", GZIP) + bytes(9)
    for length in (1, 4, len(packed)):
        assert b"".join(inflate(cut(packed, length), GZIP, may_repeat=True)) == b"onetwo"


@pytest.mark.parametrize(
    ("packed", "bits", "said"),
    [
        ([deflated(b"x" * 1000)[:-3]], RAW, "end too early"),
        ([], RAW, "end too early"),
        ([deflated(b"x") + b"more"], RAW, "behind the end"),
        ([deflated(b"x"), b"more"], RAW, "behind the end"),
        ([b"\xff" * 20], RAW, "broken compressed data"),
        ([deflated(b"one", GZIP) + b"more"], GZIP, "behind the end"),
    ],
)
def test_errors_name_the_problem(packed, bits, said):
    with pytest.raises(BrokenDataError, match=said):
        list(inflate(packed, bits))
