from __future__ import annotations

import random

import pytest

from filterzoo.inflating import BrokenDataError
from filterzoo.layers.lzf import decompress, fletcher32

PACKED = bytes([2, *b"abc", 0x20, 2, 0xE0, 3, 0, 0, ord("x")])
"""abc, the three bytes from three before, then twelve times the last one, then x."""
PLAIN = b"abcabc" + b"c" * 12 + b"x"


def test_tokens_of_each_kind():
    assert decompress(PACKED, len(PLAIN)) == PLAIN


@pytest.mark.parametrize("size", [0, len(PLAIN) - 1, len(PLAIN) + 1, 1 << 40])
def test_another_size_is_broken(size):
    with pytest.raises(BrokenDataError, match="declared"):
        decompress(PACKED, size)


def test_broken_data_raise_nothing_else():
    dice = random.Random(1)
    broken = 0
    for _ in range(5000):
        data = bytearray(PACKED[: dice.choice([len(PACKED), dice.randrange(len(PACKED))])])
        for _ in range(dice.randint(0, 3)):
            if data:
                data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            assert len(decompress(bytes(data), len(PLAIN))) == len(PLAIN)
        except BrokenDataError:
            broken += 1
    assert broken > 3000


def plain_fletcher32(data: bytes) -> int:
    first = second = 0
    padded = data + b"\0" * (len(data) % 2)
    for at in range(0, len(padded), 2):
        first = (first + (padded[at] << 8 | padded[at + 1])) % 65535
        second = (second + first) % 65535
    return second << 16 | first


@pytest.mark.parametrize("length", [0, 1, 2, 719, 720, 4001])
def test_the_checksum_in_parts_is_that_of_the_whole(length):
    data = random.Random(length).randbytes(length)
    assert fletcher32([data[at : at + 100] for at in range(0, length, 100)]) == plain_fletcher32(data)
