"""The zip index that torch, npz and Keras files are read with."""

from __future__ import annotations

import io
import zipfile

import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.torch_files import TorchZip

from filterzoo.errors import Reason, Refused
from filterzoo.records import Codec
from filterzoo_plugins.encodings.zip import NEAR_MEMBERS, ZipIndex


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED, *, zip64: bool = False) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(content)
    return stream.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("zip64", [False, True])
def test_members_are_what_zipfile_reads(method, zip64):
    members = {"a": b"", "folder/b": bytes(range(256)) * 400, "ü.npy": b"x" * 70_000, "c": b"1"}
    data = zipped(members, method, zip64=zip64)
    index = ZipIndex(MemoryFile(data))
    index.check_headers()
    assert list(index.members) == list(members)
    for name, content in members.items():
        member = index.members[name]
        assert index.read(member, 1 << 20) == content
        record = index.record(member, index.offset(member))
        assert record.codec is (Codec.DEFLATE if method else Codec.RAW)
        assert data[record.offset : record.offset + record.length] == content or method
        assert record.size == len(content)


def test_streamed_zips_with_sizes_behind_the_data_are_read():
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, part) -> int:
            self.data += part
            return len(part)

    stream = Unseekable()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"first")
        archive.writestr("b", b"second")
    index = ZipIndex(MemoryFile(bytes(stream.data)))
    assert index.read_all(index.members.values(), 100) == [b"first", b"second"]


def test_likely_offsets_are_the_real_ones_and_cost_no_read():
    data = zipped({f"{n}.npy": bytes(100_000) for n in range(5)})
    file = MemoryFile(data)
    index = ZipIndex(file)
    reads = len(file.reads)
    likely = [index.likely_offset(member) for member in index.members.values()]
    assert len(file.reads) == reads
    assert likely == index.offsets(list(index.members.values()))
    assert len(file.reads) > reads


def test_a_file_of_gaps_is_asked_for_its_headers():
    """Behind an alignment that no known writer makes, the local header is read."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("a", "b"):
            entry = zipfile.ZipInfo(name)
            entry.extra = b"\x99\x99\x03\x00abc"
            archive.writestr(entry, bytes(100_000))
    index = ZipIndex(MemoryFile(stream.getvalue()))
    for member in index.members.values():
        assert index.likely_offset(member) == index.offset(member)


def test_neighbours_come_in_one_read():
    near = {f"near{n}": b"x" * 10 for n in range(50)}
    data = zipped({**near, "big": bytes(1 << 20), "far": b"y", "end": bytes(1 << 17)})
    file = MemoryFile(data)
    index = ZipIndex(file)
    file.reads.clear()
    wanted = [*near, "far"]
    contents = index.read_all([index.members[name] for name in wanted], 1 << 20)
    assert contents == [b"x" * 10] * 50 + [b"y"]
    assert len(file.reads) == 2
    assert sum(length for _, length in file.reads) < 4 * NEAR_MEMBERS


def test_a_member_longer_than_the_limit_is_not_read():
    file = MemoryFile(zipped({"bomb": bytes(10 << 20)}, zipfile.ZIP_DEFLATED))
    index = ZipIndex(file)
    with pytest.raises(Refused) as refusal:
        index.read(index.members["bomb"], 1 << 20)
    assert refusal.value.reason is Reason.LIMIT


def test_a_member_that_inflates_to_more_than_it_says_is_refused():
    data = bytearray(zipped({"bomb": bytes(10 << 20)}, zipfile.ZIP_DEFLATED))
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = data.index(signature) + at
        data[start : start + 4] = (100).to_bytes(4, "little")
    index = ZipIndex(MemoryFile(bytes(data)))
    with pytest.raises(Refused) as refusal:
        index.read(index.members["bomb"], 1 << 20)
    assert refusal.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("prefix", [b"MZ" + bytes(500), b"\0"])
def test_bytes_in_front_are_refused(prefix):
    with pytest.raises(Refused) as refusal:
        ZipIndex(MemoryFile(prefix + TorchZip().bytes()))
    assert refusal.value.reason is Reason.UNSAFE


@pytest.mark.parametrize("data", [b"", b"PK\5\6", b"PK\3\4" * 20, b"x" * 100, b"PK\5\6" * 20_000])
def test_what_is_no_zip_is_refused(data):
    with pytest.raises(Refused) as refusal:
        ZipIndex(MemoryFile(data))
    assert refusal.value.reason is Reason.MALFORMED


def test_an_empty_zip_has_no_members():
    assert ZipIndex(MemoryFile(zipped({}))).members == {}
