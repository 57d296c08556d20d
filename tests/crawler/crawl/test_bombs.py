"""Files inside files: what they unpack to is bounded over all levels; a full disk is the limit of the file."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import lzma
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file
from tests.program import filterzoo

from filterzoo.archive import Member, Packing
from filterzoo.commands.inspect import inspect
from filterzoo.crawl.worker.opening import opened
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.plugins import load, references
from filterzoo.records import Index

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(load(references(())).format_references) as running:
        yield running


def refused(jail: Jail, path: Path, most: int | None = None) -> Refused:
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    with LocalFile(path) as file, pytest.raises(Refused) as raised:
        contextlib.ExitStack().enter_context(opened(file, path.name, jail, scratch, most=most))
    assert list(scratch.iterdir()) == []
    return raised.value


def model(size: int) -> bytes:
    """What looks like a model at its start, so that it is unpacked."""
    return b"\x93NUMPY\1\0" + bytes(size)


def test_gzip_in_gzip_has_the_room_of_one_file(jail: Jail, tmp_path: Path):
    """60 MB stay below what any file may unpack to; the 120 MB in them are out of proportion to the 60 kB outside."""
    inner = gzip.compress(model(2 * MEGABYTE), mtime=0) * 60
    inner += bytes(60 * MEGABYTE - len(inner))
    path = tmp_path / "m.pth.gz.gz"
    path.write_bytes(gzip.compress(inner, mtime=0))
    refusal = refused(jail, path)
    assert refusal.reason is Reason.LIMIT
    assert int(refusal.detail.split()[4]) <= 4 * MEGABYTE


def test_no_more_is_unpacked_than_a_checkpoint_may_have(jail: Jail, tmp_path: Path):
    path = tmp_path / "m.pth.gz"
    path.write_bytes(gzip.compress(model(2 * MEGABYTE)))
    assert refused(jail, path, most=MEGABYTE).reason is Reason.LIMIT
    assert refused(jail, path).reason is Reason.MALFORMED


def test_no_more_is_unpacked_than_the_disk_has(jail: Jail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "m.pth.gz"
    path.write_bytes(gzip.compress(model(2 * MEGABYTE)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(0, 0, 65 * MEGABYTE))
    assert refused(jail, path).reason is Reason.LIMIT


class FullDisk(io.BytesIO):
    """Takes one piece, as a disk does that others fill meanwhile."""

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # it gets bytes only
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(piece)


def test_a_disk_that_runs_full_is_the_limit_of_the_file(jail: Jail, tmp_path: Path):
    path = tmp_path / "m.gz"
    path.write_bytes(gzip.compress(bytes(5 * MEGABYTE)))
    sink: IO[bytes] = FullDisk()
    with LocalFile(path) as file, pytest.raises(Refused, match="No space left") as raised:
        jail.unpack(file, Member(name="", offset=0, length=file.size, packing=Packing.GZIP), sink)
    assert raised.value.reason is Reason.LIMIT


@pytest.mark.parametrize("name", ["m.pth.xz", "m.txz"])
def test_xz_that_wants_much_memory_is_a_limit_and_not_damage(jail: Jail, tmp_path: Path, name: str):
    path = tmp_path / name
    wants = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 * MEGABYTE}]
    path.write_bytes(_xz_of_dictionary(lzma.compress(bytes(10_000), filters=[wants[0] | {"dict_size": MEGABYTE}])))
    refusal = refused(jail, path)
    assert (refusal.reason, "memory" in refusal.detail) == (Reason.LIMIT, True)


def _xz_of_dictionary(packed: bytes) -> bytes:
    """The same xz stream with a header that asks for a dictionary of 512 MiB: compressing with one takes gigabytes."""
    header = bytearray(packed[12 : 12 + 4 * (packed[12] + 1)])
    place = header.index(0x21) + 2  # filter LZMA2, one byte of properties: the dictionary's size
    header[place] = 34  # 2 << (34 / 2 + 11)
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    return packed[:12] + bytes(header) + packed[12 + len(header) :]


def test_inspect_goes_on_behind_files_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "bad.pth.gz").write_bytes(gzip.compress(gzip.compress(bytes(80 * MEGABYTE))))
    (tmp_path / "none.pth").write_bytes(b"")
    ran = filterzoo("inspect", "--json", "bad.pth.gz", "missing.pth", "none.pth", cwd=tmp_path)
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["file"] for line in lines] == ["bad.pth.gz", "missing.pth", "none.pth"]
    assert all(line["error"]["reason"] for line in lines)
    assert ran.code == 2


def test_inspect_goes_on_behind_a_file_that_breaks_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """What no stage foresees is that file's `crashed`."""
    paths = [tmp_path / name for name in ("breaks.safetensors", "good.safetensors")]
    for path in paths:
        save_file({"w.weight": np.ones((4, 4, 3, 3), np.float32)}, path)

    def checked(_index: Index, file: LocalFile, _scratch: Path) -> None:
        if file.path == paths[0]:
            raise KeyError("a library broke")

    monkeypatch.setattr("filterzoo.commands.inspect_file._check", checked)
    with pytest.raises(typer.Exit) as ended:
        inspect([str(path) for path in paths], as_json=True)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["error"]["reason"], second["filters"], ended.value.exit_code) == ("crashed", {"3x3": 16}, 2)
